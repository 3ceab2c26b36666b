package fleet

import (
	"math"
	"strconv"
	"time"
)

// page is what one target prints at the moment. Not safe for concurrent use;
// its target's mutex guards it.
type page struct {
	t           *template
	form        Page
	buf         []byte
	shuffled    []byte   // buf in another order, where form asks for that; or the lines that a filter finds
	from, to    []uint32 // unit -> where it stands in buf
	off         []uint32 // row -> where its value begins in buf
	width       []uint8  // row -> digits of its value in buf
	val         []uint64 // row -> value; sums as float64 bits
	generations []uint32 // churn group -> how often it was replaced
	random      random
	scratch     []byte
	order       []int32 // of a block's units, where form asks for another each time
	grown       bool    // a value no longer fits its place: render again
	churnDue    float64 // series still to be replaced
	nextGroup   int
	moved       uint64    // values changed since the beginning
	replaced    uint64    // series replaced since the beginning
	renders     uint64    // how often the page was rendered whole
	started     time.Time // when the sidecar's process began; zero: its uptime is what envoy_server_uptime shows
}

func newPage(t *template, seed uint64, form Page) *page {
	n := len(t.rows)
	p := &page{
		t: t, form: form, from: make([]uint32, len(t.units)), to: make([]uint32, len(t.units)), off: make([]uint32, n),
		width: make([]uint8, n), val: make([]uint64, n),
		generations: make([]uint32, len(t.groups)), random: random(seed),
	}
	for i := range t.units {
		p.reset(&t.units[i])
	}
	// Replicas do not all replace their series in the same second.
	if len(t.groups) > 0 {
		p.churnDue = -float64(p.random.below(n/8 + 1))
	}
	p.render()
	return p
}

// reset gives the unit the values of a series that has run for a while (hot), or
// that nothing ever happened to.
func (p *page) reset(u *unit) {
	v := p.val[u.first : u.first+u.rows]
	switch {
	case u.kind == histogram && u.hot:
		p.resetHistogram(v)
	case u.kind == histogram:
		clear(v)
		v[len(bucketBounds)] = math.Float64bits(0)
	case u.hot:
		v[0] = 100_000 + uint64(p.random.below(800_000))
	case u.kind == gauge:
		v[0] = uint64(p.random.below(3))
	default:
		v[0] = 0
		if p.random.below(4) == 0 {
			v[0] = 1 + uint64(p.random.below(40))
		}
	}
}

func (p *page) resetHistogram(v []uint64) {
	var total uint64
	sum := 0.1
	buckets := len(bucketBounds)
	for b := range buckets {
		if n := uint64(p.random.below(60_000)); b >= firstBusyBucket && b < buckets-4 {
			total += n
			sum += float64(n) * 0.9 * float64(b*b)
		}
		v[b] = total
	}
	v[buckets] = math.Float64bits(sum)
	v[buckets+1] = total
}

// firstBusyBucket: no call is faster than this, as in real dumps.
const firstBusyBucket = 4

// advance moves the page to its next scrape: about the share moving of the
// values changes, and the share churn of the series gives way to new ones.
func (p *page) advance(moving, churn float64) {
	if churn > 0 {
		p.replace(churn)
	}
	p.move(int(moving * float64(len(p.val))))
	if p.grown {
		p.render()
	}
}

func (p *page) move(budget int) {
	// A random start: which units move differs from scrape to scrape, and none moves twice.
	parts := [2][]int32{p.t.order[:p.t.hot], p.t.order[p.t.hot:]}
	for _, part := range parts {
		if len(part) == 0 {
			continue
		}
		start := p.random.below(len(part))
		for i := 0; i < len(part) && budget > 0; i++ {
			budget -= p.moveUnit(&p.t.units[part[(start+i)%len(part)]])
		}
	}
}

// moveUnit changes the unit's values and returns how many of them.
func (p *page) moveUnit(u *unit) int {
	if u.first == p.t.uptime {
		return 0 // age changes it
	}
	step := 1 + uint64(p.random.below(40))
	first := int(u.first)
	if u.kind != histogram {
		v := &p.val[first]
		if u.kind == gauge && *v > step && p.random.below(2) == 0 {
			*v -= step
		} else {
			*v += step
		}
		p.put(first)
		p.moved++
		return 1
	}
	buckets := len(bucketBounds)
	from := firstBusyBucket + p.random.below(buckets-4-firstBusyBucket)
	for b := from; b < buckets; b++ {
		p.val[first+b] += step
		p.put(first + b)
	}
	p.addToSum(first+buckets, float64(step)*(0.3+float64(from*from)))
	p.val[first+buckets+1] += step
	p.put(first + buckets + 1)
	changed := buckets - from + 2
	p.moved += uint64(changed)
	return changed
}

// addToSum prefers a sum that is printed as wide as the old one: a decimal of 32
// digits that happens to end in 0 is shorter, and would cost a rendering.
func (p *page) addToSum(i int, by float64) {
	sum := math.Float64frombits(p.val[i])
	for range 8 {
		sum += by
		p.val[i] = math.Float64bits(sum)
		if p.fits(i) {
			break
		}
		by = 0.1
	}
	p.put(i)
}

func (p *page) fits(i int) bool {
	p.scratch = p.appendValue(p.scratch[:0], i)
	return len(p.scratch) == int(p.width[i])
}

// put overwrites the row's digits, or asks for a rendering where they do not fit.
func (p *page) put(i int) {
	if !p.fits(i) {
		p.grown = true
		return
	}
	copy(p.buf[p.off[i]:], p.scratch)
}

func (p *page) appendValue(dst []byte, i int) []byte {
	if p.t.rows[i].sum {
		return strconv.AppendFloat(dst, math.Float64frombits(p.val[i]), 'g', 32, 64) // as Envoy prints them
	}
	return strconv.AppendUint(dst, p.val[i], 10)
}

// replace lets whole groups (all series of one peer) give way to new series,
// which begin at their own values.
func (p *page) replace(churn float64) {
	if len(p.t.groups) == 0 {
		return
	}
	for p.churnDue += churn * float64(len(p.val)); p.churnDue >= 1; {
		g := p.nextGroup
		p.nextGroup = (g + 1) % len(p.t.groups)
		p.generations[g]++
		for _, u := range p.t.groups[g] {
			unit := &p.t.units[u]
			p.reset(unit)
			p.churnDue -= float64(unit.rows)
			p.replaced += uint64(unit.rows)
		}
	}
	p.grown = true
}

func (p *page) render() {
	p.grown = false
	p.renders++
	buf := p.buf[:0]
	for _, b := range p.t.blocks {
		buf = append(buf, b.head...)
		for _, u := range b.units {
			p.from[u] = uint32(len(buf))
			first := int(p.t.units[u].first)
			for i := range int(p.t.units[u].rows) {
				buf = p.appendRow(buf, first+i)
			}
			p.to[u] = uint32(len(buf))
		}
		if p.form.BlankLines {
			buf = append(buf, '\n')
		}
	}
	p.buf = buf
}

func (p *page) appendRow(buf []byte, i int) []byte {
	r := &p.t.rows[i]
	start := len(buf)
	buf = append(buf, r.text...)
	if r.tag >= 0 && p.generations[r.group] > 0 {
		at := start + int(r.tag)
		appendTag(buf[at:at], p.generations[r.group])
	}
	p.off[i] = uint32(len(buf))
	buf = p.appendValue(buf, i)
	p.width[i] = uint8(len(buf) - int(p.off[i]))
	if p.form.Timestamps {
		buf = append(buf, " 0000000000000"...) // body overwrites it
	}
	return append(buf, '\n')
}

// age writes how long the process has run.
func (p *page) age(now time.Time) {
	if p.t.uptime < 0 {
		return
	}
	i := int(p.t.uptime)
	if p.started.IsZero() {
		p.started = now.Add(-time.Duration(p.val[i]) * time.Second)
	}
	p.val[i] = uint64(now.Sub(p.started) / time.Second)
	if p.put(i); p.grown {
		p.render()
	}
}

// restart begins a new process, whose counters and histograms are at zero.
func (p *page) restart() {
	for _, u := range p.t.units {
		v := p.val[u.first : u.first+u.rows]
		if u.kind != gauge || u.first == p.t.uptime {
			clear(v)
		}
	}
	p.started = time.Time{}
	p.render()
}

// body is the page as it goes out now. It is valid until the page is used again.
func (p *page) body(now time.Time) []byte {
	p.age(now)
	if p.form.Timestamps {
		p.stamp(now.UnixMilli())
	}
	if !p.form.Shuffle {
		return p.buf
	}
	out := p.shuffled[:0]
	for _, b := range p.t.blocks {
		out = append(out, b.head...)
		p.order = append(p.order[:0], b.units...)
		p.random.shuffle(p.order)
		for _, u := range p.order {
			out = append(out, p.buf[p.from[u]:p.to[u]]...)
		}
		if p.form.BlankLines {
			out = append(out, '\n')
		}
	}
	p.shuffled = out
	return out
}

// stamp writes the time of each row; the present needs thirteen digits until the year 2286.
func (p *page) stamp(millis int64) {
	p.scratch = strconv.AppendInt(p.scratch[:0], millis, 10)
	for i, at := range p.off {
		copy(p.buf[int(at)+int(p.width[i])+1:], p.scratch)
	}
}
