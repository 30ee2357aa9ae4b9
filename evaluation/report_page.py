"""Looks and behaviour of the report of `refstar evaluate`; no library, no network."""

CSS = """
:root { color-scheme: light }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1500px; margin: 1.5rem auto; padding: 0 1.5rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.2rem } p { max-width: 60rem }
table { border-collapse: collapse; margin: .8rem 0; display: block; overflow-x: auto }
td, th { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere } td:first-child { white-space: nowrap }
.ci { color: #777; font-size: 12px; white-space: nowrap; display: block; font-weight: normal }
.small { color: #666; font-size: 13px } details.small { margin: .2rem 0 }
.note { background: #fff6dd; border-left: 4px solid #e0a800; padding: .5rem .9rem }
.yes { color: #06702c } .no { color: #b00020 } .open { color: #777 }
#controls { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; position: sticky; top: 0; background: #fff;
  padding: .6rem 0; border-bottom: 1px solid #ddd; z-index: 1 }
select, input, button { font: inherit; padding: .2rem .4rem }
#grid { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 1rem }
.card { border: 1px solid #ddd; border-radius: 6px; padding: .5rem; cursor: pointer; background: #fff; text-align: left;
  content-visibility: auto; contain-intrinsic-size: 600px 190px }
.card:hover, .card:focus-visible { border-color: #1f77b4; box-shadow: 0 0 0 1px #1f77b4 }
.card .name { font-weight: 600; font-size: 13px } .panels { display: flex; gap: 4px; margin-top: .3rem }
.panels figure { margin: 0; width: 112px } .panels img { width: 112px; display: block }
figcaption { font-size: 12px; color: #555; font-variant-numeric: tabular-nums }
dialog { max-width: 97vw; max-height: 97vh; border: 0; border-radius: 8px; padding: 1rem; overflow: auto }
dialog::backdrop { background: #000a }
dialog .bar { display: flex; gap: .6rem; align-items: center; margin-bottom: .6rem } dialog .bar b { flex: 1 }
dialog .panels { flex-wrap: wrap; gap: 10px } dialog .panels figure { width: var(--side) }
dialog .panels img { width: var(--side) } dialog figcaption b { color: #222 }
dialog table { font-size: 12px; margin: .2rem 0 } dialog td { padding: 0 .5rem 0 0; border: 0 }
"""

SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent)
const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props)
  node.append(...children)
  return node
}
const show = v => v === undefined ? '–' : Math.abs(v) < 10 ? v.toFixed(3) : v.toFixed(2)
const figure = (photo, method, column) => (photo.figures[method] || {})[column]
const known = (method, column) => data.photos.some(p => figure(p, method, column) !== undefined)
const columns = data.columns.filter(c => data.methods.some(m => known(m, c.key)))
const pick = (label, options) => {
  const select = el('select', {}, ...options.map(([value, text]) => el('option', {value, textContent: text})))
  select.addEventListener('change', draw)
  controls.append(el('label', {}, label + ' ', select))
  return select
}
const controls = document.getElementById('controls'), grid = document.getElementById('grid')
const large = document.getElementById('large')
const column = pick('Sort by', [['', 'name'], ...columns.map(c => [c.key, c.title])])
const pairs = data.methods.flatMap((a, i) => data.methods.slice(i + 1).map(b => [a, b]))
const subjects = [...data.methods.map(m => [m]), ...pairs]
const subject = pick('of', subjects.map((s, i) => [i, s.join(' − ')]))
const order = pick('', [['bad', 'worst first'], ['good', 'best first']])
const search = el('input', {type: 'search', placeholder: 'name or person', ariaLabel: 'name or person'})
search.addEventListener('input', draw)
const count = el('span', {className: 'small'})
controls.append(search, count)
let shown = []

function value(photo) {
  const [a, b] = subjects[subject.value].map(m => figure(photo, m, column.value))
  return subjects[subject.value].length === 1 ? a : a === undefined || b === undefined ? undefined : a - b
}

function draw() {
  const chosen = columns.find(c => c.key === column.value)
  const words = search.value.trim().toLowerCase()
  shown = data.photos.filter(p => `${p.name} ${p.person || ''}`.toLowerCase().includes(words))
  subject.disabled = order.disabled = !chosen
  if (chosen) {
    const up = (chosen.better === 'lower') !== (order.value === 'bad') ? 1 : -1
    const sorted = shown.filter(p => value(p) !== undefined).sort((p, q) => up * (value(p) - value(q)))
    shown = [...sorted, ...shown.filter(p => value(p) === undefined)]
  }
  count.textContent = `${shown.length} of ${data.photos.length}`
  grid.replaceChildren(...shown.map((photo, i) => {
    const panels = photo.panels.map(panel => {
      const caption = chosen && data.methods.includes(panel.label)
        ? `${panel.label} ${show(figure(photo, panel.label, column.value))}` : panel.label
      return el('figure', {}, el('img', {src: panel.thumb, alt: panel.label, loading: 'lazy'}),
        el('figcaption', {textContent: caption}))
    })
    const name = photo.name + (photo.person && photo.person !== photo.name ? ` (${photo.person})` : '')
    const card = el('div', {className: 'card', tabIndex: 0, role: 'button'},
      el('div', {className: 'name', textContent: name}), el('div', {className: 'panels'}, ...panels))
    card.addEventListener('click', () => open(i))
    card.addEventListener('keydown', e => { if (e.key === 'Enter') open(i) })
    return card
  }))
}

let at = 0
function open(i) {
  at = (i + shown.length) % shown.length
  const photo = shown[at]
  const button = (text, title, act) => {
    const node = el('button', {textContent: text, title})
    node.addEventListener('click', act)
    return node
  }
  const bar = el('div', {className: 'bar'}, el('b', {textContent: `${photo.name} (${at + 1} of ${shown.length})`}),
    button('←', 'previous (arrow key)', () => open(at - 1)), button('→', 'next (arrow key)', () => open(at + 1)),
    button('✕', 'close (Esc)', () => large.close()))
  const panels = photo.panels.map(panel => {
    const img = el('img', {src: panel.large, alt: panel.label})
    const caption = el('figcaption', {}, el('b', {textContent: panel.label}))
    img.addEventListener('error', () => {
      img.src = panel.thumb
      caption.append(' (small: the folder pictures is not beside this page)')
    }, {once: true})
    const rows = columns.map(c => [c.title, figure(photo, panel.label, c.key)]).filter(row => row[1] !== undefined)
    const cells = ([title, v]) => [el('td', {textContent: title}), el('td', {textContent: show(v)})]
    if (rows.length) caption.append(el('table', {}, ...rows.map(row => el('tr', {}, ...cells(row)))))
    return el('figure', {}, img, caption)
  })
  large.replaceChildren(bar, el('div', {className: 'panels'}, ...panels))
  const room = Math.floor((window.innerWidth * 0.95 - 60) / photo.panels.length) - 10
  large.style.setProperty('--side', `${Math.max(160, Math.min(512, room))}px`)
  if (!large.open) large.showModal()
}
large.addEventListener('keydown', e => {
  if (e.key === 'ArrowRight') open(at + 1)
  if (e.key === 'ArrowLeft') open(at - 1)
})
large.addEventListener('click', e => { if (e.target === large) large.close() })
draw()
"""
