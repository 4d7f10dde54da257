"""The HTML around a live page: its width on phones, its keys, and a message if the server ends."""

from bokeh.core.templates import FILE

KEYS = """
const page = () => window.Bokeh?.documents[0]
const model = (name) => page()?.get_model_by_name(name)

// Space pauses, p presents one panel, Escape ends that, and arrows choose the panel.
function press(key) {
  const present = model("present")
  const toggle = {" ": model("pause"), p: present, Escape: present?.active ? present : null}[key]
  if (toggle) {
    if (!toggle.disabled) toggle.active = !toggle.active
    return true
  }
  const step = {ArrowRight: 1, ArrowLeft: -1}[key]
  if (!step || !present?.active) return false
  const show = model("show"), names = show.options.map(([name]) => name).slice(1)
  show.value = names[(names.indexOf(show.value) + step + names.length) % names.length]
  return true
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return
  if (press(event.key)) {
    event.preventDefault()
    event.stopPropagation()
  }
}, true)
addEventListener("keyup", (event) => {  // otherwise a button with the focus would be clicked, too
  if (event.key == " ") event.preventDefault()
}, true)

const loading = setInterval(() => {
  if (!page()?.roots().length) return
  clearInterval(loading)
  const say = (text) => { document.getElementById("gone").textContent = text }
  page().on_event("connection_lost", () => say("The training program has ended. " +
    "The page shows its last state; drawing and clicking have no effect any more."))
  page().on_event("client_reconnected", () => say(""))
}, 50)
"""

PAGE = FILE.environment.from_string(
    "{% extends 'file.html.jinja' %}"
    "{% block preamble %}"
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="icon" href="data:,">'  # none, so that the browser does not request one
    "{% endblock %}"
    '{% block contents %}{{ super() }}<div id="gone" role="status"></div>{% endblock %}'
    f"{{% block postamble %}}<script>{KEYS}</script>{{% endblock %}}"
)
