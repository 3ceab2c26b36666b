package series

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// modelTable is a Table made of plain maps.
type modelTable struct {
	t       *testing.T
	table   *Table
	targets map[TargetID]*modelTarget
	series  map[ID]*modelSeries
}

type modelTarget struct {
	labels labels.Labels
	refs   int
}

type modelSeries struct {
	key  string // name, le, own labels, and which of the target's labels are unchanged
	refs int
	gen  uint32
	meta Meta
	in   map[TargetID]labels.Labels // as added, by target
}

// FuzzTable does the same operations on a Table and on a plain model of it, and compares. The input chooses them.
func FuzzTable(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		ops := make([]byte, 400)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		m := &modelTable{
			t: t, table: newTable(fuzzSlice, 2), targets: map[TargetID]*modelTarget{}, series: map[ID]*modelSeries{},
		}
		next := func() int {
			if len(ops) == 0 {
				return 0
			}
			n := ops[0]
			ops = ops[1:]
			return int(n)
		}
		for len(ops) > 0 {
			switch op := next() % 8; op {
			case 0:
				m.addTarget(next())
			case 1:
				m.releaseTarget(next())
			case 2, 3, 4:
				m.add(next(), next(), next())
			case 5:
				m.retain(next())
			case 6:
				m.release(next())
			default:
				m.releaseInSlices(1+next()%16, next)
			}
		}
		m.compare()
		m.releaseAll()
	})
}

// targetLabels returns labels of a target: few different ones, so that targets are equal often, but of many forms.
func targetLabels(n int) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for i, name := range []string{"instance", "job", "le", "pod", "zone"} {
		if n>>i&1 == 1 {
			b.Set(name, fmt.Sprint(n>>5&1))
		}
	}
	if n>>6 == 3 {
		for i := range MaxMasked + 3 { // more than the mask has bits for
			b.Set(fmt.Sprintf("l%03d", i), fmt.Sprint(n&1))
		}
	}
	return b.Labels()
}

// finalLabels returns labels of a series: those of the target, of which some are missing, some changed and some added.
func finalLabels(target labels.Labels, n, m int) labels.Labels {
	b := labels.NewBuilder(target)
	b.Set("__name__", fmt.Sprint("m", n%5))
	if n>>3&3 == 0 {
		b.Set("le", fmt.Sprint(n>>5))
	}
	if n>>5&7 == 7 {
		b.Del("__name__")
	}
	for i, name := range []string{"A", "instance", "job", "k", "l001", "pod", "zz"} {
		switch m >> i & 3 {
		case 2:
			b.Set(name, fmt.Sprint(m&1))
		case 3:
			b.Del(name)
		}
	}
	return b.Labels()
}

func pickKey[K ~uint32, V any](from map[K]V, n int) (k K, ok bool) {
	if len(from) == 0 {
		return 0, false
	}
	keys := make([]K, 0, len(from))
	for k := range from {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys[n%len(keys)], true
}

func (m *modelTable) addTarget(n int) {
	l := targetLabels(n)
	id := m.table.AddTarget(l)
	for other, t := range m.targets {
		if same := labels.Equal(t.labels, l); same != (other == id) {
			m.t.Fatalf("target %v has id %d, %v has %d", l, id, t.labels, other)
		}
	}
	if m.targets[id] == nil {
		m.targets[id] = &modelTarget{labels: l}
	}
	m.targets[id].refs++
}

// releaseTarget releases a target, unless a series was added for it.
func (m *modelTable) releaseTarget(n int) {
	id, ok := pickKey(m.targets, n)
	if !ok {
		return
	}
	t := m.targets[id]
	if t.refs == 1 {
		for _, s := range m.series {
			if _, uses := s.in[id]; uses {
				return
			}
		}
	}
	m.table.ReleaseTarget(id)
	if t.refs--; t.refs == 0 {
		delete(m.targets, id)
	}
}

// key is equal for labels that have the same ID: all labels, where an unchanged label of the target is only its index.
func key(target, final labels.Labels) string {
	var b strings.Builder
	i, unchanged := 0, 0
	target.Range(func(l labels.Label) {
		if final.Get(l.Name) == l.Value {
			unchanged++
			if l.Name != "le" && i < MaxMasked {
				fmt.Fprintf(&b, "%d,", i)
			}
		}
		i++
	})
	fmt.Fprint(&b, unchanged == i, "/")
	i = 0
	final.Range(func(l labels.Label) {
		at := slices.IndexFunc(targetNames(target), func(name string) bool { return name == l.Name })
		if at >= 0 && at < MaxMasked && l.Name != "le" && target.Get(l.Name) == l.Value {
			return
		}
		fmt.Fprintf(&b, "%q=%q,", l.Name, l.Value)
	})
	return b.String()
}

func targetNames(l labels.Labels) (names []string) {
	l.Range(func(l labels.Label) { names = append(names, l.Name) })
	return names
}

func (m *modelTable) add(target, n, rest int) {
	id, ok := pickKey(m.targets, target)
	if !ok {
		return
	}
	own := m.targets[id].labels
	final := finalLabels(own, n, rest)
	meta := Meta{
		Type: []model.MetricType{model.MetricTypeCounter, model.MetricTypeUnknown}[n&1],
		Help: []string{"", "h", "m1"}[rest%3],
	}
	k := key(own, final)
	got := m.table.Add(id, final, meta)
	for other, s := range m.series {
		if same := s.key == k; same != (other == got) {
			m.t.Fatalf("%v of %v has id %d, want it shared with %d: %v (%q)", final, own, got, other, same, k)
		}
	}
	s := m.series[got]
	if s == nil {
		s = &modelSeries{key: k, in: map[TargetID]labels.Labels{}}
		m.table.Read(func(v View) { s.gen = v.Gen(got) })
		m.series[got] = s
	}
	s.refs++
	s.meta, s.in[id] = meta, final
}

func (m *modelTable) retain(n int) {
	if id, ok := pickKey(m.series, n); ok {
		m.table.Retain(slices.Values([]ID{id, id}))
		m.series[id].refs += 2
	}
}

func (m *modelTable) release(n int) {
	id, ok := pickKey(m.series, n)
	if !ok {
		return
	}
	m.table.Release(slices.Values([]ID{id}))
	m.forget(id)
}

// forget notes that the table has released a reference.
func (m *modelTable) forget(id ID) {
	s := m.series[id]
	if s.refs--; s.refs > 0 {
		return
	}
	delete(m.series, id)
	m.table.Read(func(v View) {
		if v.Gen(id) == s.gen {
			m.t.Errorf("the generation of %d did not change when it went", id)
		}
	})
}

// fuzzSlice is how many ids the table under test retains or releases at a time.
const fuzzSlice = 3

// releaseInSlices releases up to count references in one call. Between the slices of that call series are added,
// retained and read: a reference is held until its slice is done, and an id may be another series right after its last
// reference.
func (m *modelTable) releaseInSlices(count int, next func() int) {
	var pending []ID // yielded, and not yet released
	settle := func() {
		for _, id := range pending {
			m.forget(id)
		}
		pending = nil
	}
	m.table.Release(func(yield func(ID) bool) {
		for range count {
			id, ok := pickKey(m.series, next())
			if !ok {
				return
			}
			held := m.series[id].refs
			for _, p := range pending {
				if p == id {
					held--
				}
			}
			if held == 0 {
				return
			}
			pending = append(pending, id)
			yield(id)
			if len(pending) == fuzzSlice {
				settle()
			}
			m.add(next(), next(), next())
			m.retain(next())
			if next()%4 == 0 {
				m.compare()
			}
		}
	})
	settle()
}

// compare reads everything back.
func (m *modelTable) compare() {
	strs := map[string]bool{}
	use := func(l labels.Labels) {
		l.Range(func(l labels.Label) { strs[l.Name], strs[l.Value] = true, true })
	}
	m.table.Read(func(v View) {
		for id, t := range m.targets {
			use(t.labels)
			if got := v.TargetLabels(id); !labels.Equal(got, t.labels) {
				m.t.Errorf("target %d is %v, want %v", id, got, t.labels)
			}
		}
		for id, s := range m.series {
			if v.Gen(id) != s.gen {
				m.t.Errorf("the generation of %d changed while it lived", id)
			}
			typ, help, _ := v.Meta(v.Parts(id).Meta)
			if typ != s.meta.Type || v.String(help) != s.meta.Help {
				m.t.Errorf("%d is %v %q, want %+v", id, typ, v.String(help), s.meta)
			}
			strs[s.meta.Help] = true
			for target, final := range s.in {
				use(final)
				var b labels.ScratchBuilder
				for _, p := range v.Labels(nil, id, target) {
					b.Add(v.String(p.Name), v.String(p.Value))
				}
				if got := b.Labels(); !labels.Equal(got, final) {
					m.t.Errorf("%d of %d is %v, want %v", id, target, got, final)
				}
				whole := true
				m.targets[target].labels.Range(func(l labels.Label) { whole = whole && final.Get(l.Name) == l.Value })
				if got := v.Whole(v.Parts(id).Stem); got != whole {
					m.t.Errorf("%v: Whole %v, want %v", final, got, whole)
				}
			}
		}
	})
	for _, always := range []string{"", "__name__", "le"} {
		delete(strs, always)
	}
	if got := m.table.SymbolCount(); got != len(strs) {
		m.t.Errorf("%d strings, want %d", got, len(strs))
	}
	if got := m.table.Len(); got != len(m.series) {
		m.t.Errorf("%d series, want %d", got, len(m.series))
	}
}

func (m *modelTable) releaseAll() {
	for len(m.series) > 0 {
		m.release(0)
	}
	for id, t := range m.targets {
		for range t.refs {
			m.table.ReleaseTarget(id)
		}
	}
	t := m.table
	if s, n, stems := t.SymbolCount(), t.Len(), t.stems.all.used+t.stems.plans.all.used; s+n+stems != 0 {
		m.t.Errorf("%d strings, %d series, %d stems left", s, n, stems)
	}
	n := t.index.Len() + t.stems.index.Len() + t.metas.index.Len() + t.byText.Len() - firstSymbol
	if n += len(t.targets.byHash); n != 0 {
		m.t.Errorf("%d entries left in indexes", n)
	}
}
