"""The HTML around a live page, with the scripts that run in the browser.

They follow the keys, send the strokes of a digit while it is drawn, and say when the server ends.
"""

from bokeh.core.templates import FILE

KEYS = """
const page = () => window.Bokeh?.documents[0]
const model = (name) => page()?.get_model_by_name(name)

// Space pauses, p presents one panel, Escape shows all, and arrows choose the panel. A digit shows
// one panel, and again all. f is for the full screen, F for one panel on it, t and T for the next
// tab and the one before. On the page of the course, n and b go to the next lesson and back.
function press(key) {
  const present = model("present")
  const show = model("show"), [all, ...names] = show?.options.map(([name]) => name) ?? []
  if (key == "Escape" && show && !present?.active && show.value != all) {
    show.value = all
    return true
  }
  const toggle = {" ": model("pause"), p: present, Escape: present?.active ? present : null}[key]
  if (toggle) {
    if (!toggle.disabled) toggle.active = !toggle.active
    return true
  }
  if (key == "f" || key == "F") {
    const begins = !document.fullscreenElement
    if (begins) document.documentElement.requestFullscreen()
    else document.exitFullscreen()
    if (key == "F" && present) present.active = begins
    return true
  }
  const tabs = model("tabs"), to = {t: 1, T: -1}[key]
  if (to && tabs && !present?.active) {
    tabs.active = (tabs.active + to + tabs.tabs.length) % tabs.tabs.length
    return true
  }
  const lessons = model("lessons"), by = {n: 1, b: -1}[key]
  if (lessons && by) {
    lessons.active = Math.min(Math.max(lessons.active + by, 0), lessons.labels.length - 1)
    return true
  }
  const chosen = /^[1-9]$/.test(key) ? names[key - 1] : undefined
  if (chosen) {
    if (show.value != chosen) show.value = chosen
    else if (present.active) present.active = false  // shows all, too
    else show.value = all
    return true
  }
  const step = {ArrowRight: 1, ArrowLeft: -1}[key]
  if (!step || !present?.active) return false
  show.value = names[(names.indexOf(show.value) + step + names.length) % names.length]
  return true
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return
  const focused = event.composedPath()[0]  // inside of the element that Bokeh has made
  const is_tab = focused.matches?.(".bk-tab") && (event.key == "Enter" || event.key == " ")
  if (is_tab) focused.click()
  if (is_tab || press(event.key)) {
    event.preventDefault()
    event.stopPropagation()
  }
}, true)
addEventListener("keyup", (event) => {  // otherwise a button with the focus would be clicked, too
  if (event.key == " ") event.preventDefault()
}, true)

// Bokeh sends the strokes at the end of each stroke. This also sends them while a stroke is drawn,
// but not before the server has answered to the last ones with the image of the digit.
const strokes = {sent: 0, awaits: null}
setInterval(() => {
  const source = model("strokes"), image = model("digit data")?.data
  const points = source?.get("xs").reduce((sum, xs) => sum + xs.length, 0) ?? 0
  if (points > strokes.sent && image != strokes.awaits) {
    strokes.awaits = image
    strokes.sent = points
    source.setv({data: source.data}, {check_eq: false})
  }
  strokes.sent = Math.min(strokes.sent, points)
}, 200)

// Digits are square. The browser changes the size of their panel long before the server has drawn a
// new mosaic for it. A mosaic is drawn for a panel of `across` x `down` pixels, with digits of
// `side` pixels; in a panel of another size it is scaled.
function square(name) {
  const panel = model(name), drawn = model(`${name} data`)?.data
  if (!panel || !drawn?.side?.length) return
  const [top, columns, height, rows, side, across, down] =
    ["y", "width", "height", "rows", "side", "across", "down"].map((column) => drawn[column][0])
  const {inner_width, inner_height, x_range, y_range} = panel
  const fits = inner_width == across && inner_height == down
  const pixels = fits ? side : Math.min(inner_width / columns, inner_height / rows)
  x_range.end = inner_width / pixels
  y_range.setv({start: top - inner_height / pixels * height / rows, end: top})
}

const loading = setInterval(() => {
  if (!page()?.roots().length) return
  clearInterval(loading)
  page().on_change(({model, attr}) => {
    if (attr == "data" || attr == "inner_width" || attr == "inner_height")
      square(model.name?.replace(/ data$/, ""))
  })
  const say = (text) => { document.getElementById("gone").textContent = text }
  page().on_event("connection_lost", () => say("The training program has ended. " +
    "The page shows its last state; drawing and clicking have no effect any more."))
  page().on_event("client_reconnected", () => say(""))
}, 50)
"""

VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'

# A page without a server.
STILL = FILE.environment.from_string(
    "{% extends 'file.html.jinja' %}" + f"{{% block preamble %}}{VIEWPORT}{{% endblock %}}"
)

PAGE = FILE.environment.from_string(
    "{% extends 'file.html.jinja' %}"
    f"{{% block preamble %}}{VIEWPORT}"
    '<link rel="icon" href="data:,">'  # none, so that the browser does not request one
    "{% endblock %}"
    '{% block contents %}{{ super() }}<div id="gone" role="status"></div>{% endblock %}'
    f"{{% block postamble %}}<script>{KEYS}</script>{{% endblock %}}"
)
