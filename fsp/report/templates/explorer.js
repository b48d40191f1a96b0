"use strict"
// Links the plots and the table: a box filters, a click compares with the choice, colours follow the page.
const page = JSON.parse(document.getElementById("explorer-data").textContent)
const say = (id, text) => { document.getElementById(id).textContent = text }
const places = Object.fromEntries(page.roots.map((root, k) => [root, `explorer-${k}`]))
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

async function explore() {
  const item = { docid: "fsp", roots: places, root_ids: page.roots }
  await Bokeh.embed.embed_items({ fsp: page.document }, [item])
  const found = Bokeh.documents[0]
  const plots = found.roots().filter((root) => root.type === "Figure")
  const source = found.get_model_by_name("candidates")
  const filter = found.get_model_by_name("filter")
  const all = filter.indices

  const value = (name, row) => source.get_array(name)[row]
  const text = (row) => page.shape.map((name) => `${name}=${value(name, row)}`).join(" ")
  const choice = all.find((row) => page.shape.every((name) => value(name, row) === page.selected[name]))
  const times = (name, row) => `${(value(name, row) / value(name, choice)).toFixed(2)} times the ${name.replaceAll("_", " ")}`

  const compare = (row) => say("explorer-compare",
    `${text(row)} against the choice, ${text(choice)}: ${page.compared.map((name) => times(name, row)).join(", ")}.`)
  const show = (rows) => {
    filter.indices = rows
    source.selected.indices = []
    say("explorer-shown", `${rows.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} candidates shown.`)
  }
  source.selected.properties.indices.change.connect(() => {
    if (source.selected.indices.length === 1) compare(source.selected.indices[0])
  })
  for (const plot of plots) {
    plot.on_event("selectiongeometry", (event) => {
      const rows = [...source.selected.indices]
      if (!event.final || rows.length === 0) return
      if (event.geometry.type === "point") compare(rows[0])
      else show(rows)
    })
    plot.on_event("reset", () => show(all))
  }

  const paint = () => {
    const ink = style("--ink"), line = style("--line")
    for (const model of plots.flatMap((plot) => [...plot.references()])) {
      if (model.type.endsWith("Axis"))
        model.setv({ axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: ink,
          major_tick_line_color: ink, minor_tick_line_color: ink })
      else if (model.type === "Grid") model.setv({ grid_line_color: line })
      else if (model.type === "Figure") model.setv({ outline_line_color: line })
      else if (model.name === "T") model.glyph.setv({ fill_color: ink, line_color: ink })
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint)
  paint()
  show(all)
  document.documentElement.classList.add("interactive")
}
explore()
