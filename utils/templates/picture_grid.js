// Sorts and filters the cards of #grid; a click shows the pictures of a card large.
const [column, subject, order, search, count, grid, large] =
  ['column', 'subject', 'order', 'search', 'count', 'grid', 'large'].map(id => document.getElementById(id))
const cards = [...grid.children]
const figures = new Map(cards.map(card => [card, JSON.parse(card.dataset.figures)]))
const figure = (card, method) => figures.get(card)[method]?.[column.value]
const text = v => v === undefined ? '' : Math.abs(v) < 10 ? v.toFixed(3) : v.toFixed(2)
let shown = cards, at = 0

// The figure of the chosen method, or that of the first method minus that of the second.
function value(card) {
  const values = JSON.parse(subject.value).map(method => figure(card, method))
  return values.includes(undefined) ? undefined : values.reduce((a, b) => a - b)
}

function draw() {
  const words = search.value.trim().toLowerCase()
  shown = cards.filter(card => card.querySelector('b').textContent.toLowerCase().includes(words))
  subject.disabled = order.disabled = !column.value
  if (column.value) {
    const lower = column.selectedOptions[0].dataset.better === 'lower'
    const sign = lower === (order.value === 'good') ? 1 : -1
    const known = shown.filter(card => value(card) !== undefined)
    known.sort((a, b) => sign * (value(a) - value(b)))
    shown = [...known, ...shown.filter(card => value(card) === undefined)]
  }
  for (const span of grid.querySelectorAll('[data-method]')) {
    span.textContent = text(figure(span.closest('.card'), span.dataset.method))
  }
  count.textContent = `${shown.length} of ${cards.length}`
  grid.replaceChildren(...shown)
}

function show(i) {
  at = (i + shown.length) % shown.length
  large.querySelector('b').textContent = `${shown[at].querySelector('b').textContent} (${at + 1} of ${shown.length})`
  const row = shown[at].querySelector('.row').cloneNode(true)
  const room = Math.floor(window.innerWidth * 0.95 / row.children.length) - 24
  row.style.setProperty('--side', `${Math.max(160, Math.min(512, room))}px`)
  for (const img of row.querySelectorAll('img')) {
    const small = img.src
    img.addEventListener('error', () => {
      img.src = small
      img.alt += ' (small: the folder pictures is not beside this page)'
      img.nextElementSibling.prepend(img.alt)
    }, {once: true})
    img.src = img.dataset.large
  }
  large.querySelector('.row').replaceWith(row)
  if (!large.open) large.showModal()
}

for (const input of [column, subject, order, search]) input.addEventListener('input', draw)
grid.addEventListener('click', e => e.target.closest('.card') && show(shown.indexOf(e.target.closest('.card'))))
grid.addEventListener('keydown', e => e.key === 'Enter' && show(shown.indexOf(e.target)))
const [previous, next, close] = large.querySelectorAll('button')
previous.addEventListener('click', () => show(at - 1))
next.addEventListener('click', () => show(at + 1))
close.addEventListener('click', () => large.close())
large.addEventListener('keydown', e => {
  if (e.key === 'ArrowLeft') show(at - 1)
  if (e.key === 'ArrowRight') show(at + 1)
})
large.addEventListener('click', e => e.target === large && large.close())
draw()
