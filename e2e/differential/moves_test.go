package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

// moves tests targets of a file that disappear, return and change their address. The agents notice a change of the file
// at different times. So the test splits each series at long gaps and compares the stretches: how each begins,
// continues and ends.
type moves struct {
	world *world
	file  string
	done  chan struct{}
	ended int64 // Unix milliseconds; set before done is closed

	goes, returns, relabelled, old, new *target
}

func newMoves(w *world) *moves {
	steady := []answer{page("a 1", "b 1"), page("a 1")}
	m := &moves{world: w, file: filepath.Join(w.dir, "moves.json"), done: make(chan struct{})}
	for _, t := range []**target{&m.goes, &m.returns, &m.relabelled, &m.old} {
		*t = newTarget(w.T, steady)
	}
	m.new = newTarget(w.T, []answer{page("a 1", "c 1"), page("a 1", "c 1")})
	m.set(map[string]string{"goes": m.goes.address, "returns": m.returns.address, "relabelled": m.relabelled.address,
		"moved": m.old.address})
	return m
}

func (m *moves) yaml() string {
	return "- job_name: moves\n  file_sd_configs:\n  - files: [" + m.file +
		"]\n  relabel_configs:\n  - {source_labels: [case], target_label: instance}\n"
}

// set writes the file of targets from a map of addresses by case. A key such as "a/b" means the label case="a" and the
// label extra="b".
func (m *moves) set(addresses map[string]string) {
	var entries []string
	for name, address := range addresses {
		name, extra, _ := strings.Cut(name, "/")
		entries = append(entries, fmt.Sprintf(`{"targets": [%q], "labels": {"case": %q, "extra": %q}}`,
			address, name, extra))
	}
	slices.Sort(entries)
	temporary := m.file + ".tmp"
	if err := os.WriteFile(temporary, []byte("["+strings.Join(entries, ",\n")+"]"), 0o600); err != nil {
		m.world.Error(err)
	}
	if err := os.Rename(temporary, m.file); err != nil {
		m.world.Error(err)
	}
}

// wait waits until both agents have scraped a target n more times, or until the test ends.
func (m *moves) wait(t *target, n int) {
	from := map[agentName]int{}
	for _, a := range both {
		from[a] = t.scrapes(a)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for t.scrapes(theirs) < from[theirs]+n || t.scrapes(ours) < from[ours]+n {
		select {
		case <-tick.C:
		case <-m.world.Context().Done():
			return
		}
	}
}

// play makes the changes of the file.
func (m *moves) play() {
	defer close(m.done)
	for _, t := range []*target{m.goes, m.returns, m.relabelled, m.old} {
		m.wait(t, 4)
	}
	m.set(map[string]string{"relabelled/1": m.relabelled.address, "moved": m.new.address})
	m.wait(m.new, 12) // until the removed targets have their staleness markers
	m.set(map[string]string{"returns": m.returns.address, "moved": m.new.address})
	m.wait(m.returns, 12)
	m.ended = time.Now().UnixMilli()
}

// over reports whether everything has arrived that was written before the last change was seen.
func (m *moves) over() bool {
	select {
	case <-m.done:
	default:
		return false
	}
	for _, from := range m.world.sources() {
		times := m.world.recorder.times(from, clockOf("returns"))
		if len(times) == 0 || times[len(times)-1] < m.ended+from.endpoint.delay().Milliseconds() {
			return false
		}
	}
	return true
}

// stretch is what was written for a case between two long gaps: the content of each scrape, without repetitions, and
// what followed the last scrape, by number of intervals.
type stretch struct {
	scrapes []string
	after   map[string]string
}

func (s stretch) String() string {
	var b strings.Builder
	for i, scrape := range s.scrapes {
		fmt.Fprintf(&b, "\n\t\tscrape %d: %s", i, scrape)
	}
	for at, what := range s.after {
		fmt.Fprintf(&b, "\n\t\t%s: %s", at, what)
	}
	return b.String()
}

// stretches returns the stretches of a case up to a time.
func (r *recorder) stretches(from source, name string, until int64) []stretch {
	times := r.times(from, clockOf(name))
	times = times[:sort.Search(len(times), func(i int) bool { return times[i] > until })]
	if len(times) == 0 {
		return nil
	}
	bounds := []int{0}
	for i := 1; i < len(times); i++ {
		if times[i]-times[i-1] > 3*interval.Milliseconds() {
			bounds = append(bounds, i)
		}
	}
	bounds = append(bounds, len(times))
	clock := clock{scrapes: times}
	cells := map[string][]string{} // by moment
	r.mu.Lock()
	for series, items := range r.series[from] {
		if !ofCase(series, name) {
			continue
		}
		for _, w := range items {
			if w.time > until {
				continue
			}
			text := w.text
			if strings.Contains(series, `__name__="scrape_duration_seconds"`) && text != "stale" {
				text = "some time"
			}
			at := clock.name(w.time)
			cells[at] = append(cells[at], series+" "+text)
		}
	}
	r.mu.Unlock()
	var out []stretch
	for b := range bounds[:len(bounds)-1] {
		s := stretch{after: map[string]string{}}
		for i := bounds[b]; i < bounds[b+1]; i++ {
			said := fmt.Sprintf("%03d", i)
			slices.Sort(cells[said])
			if text := strings.Join(cells[said], "\n\t\t\t"); len(s.scrapes) == 0 ||
				s.scrapes[len(s.scrapes)-1] != text {
				s.scrapes = append(s.scrapes, text)
			}
		}
		prefix := fmt.Sprintf("%03d+", bounds[b+1]-1)
		for at, items := range cells {
			if rest, ok := strings.CutPrefix(at, prefix); ok {
				slices.Sort(items)
				s.after["after "+rest+" intervals"] = strings.Join(items, "\n\t\t\t")
			}
		}
		out = append(out, s)
	}
	return out
}

// compare compares the stretches of every case.
func (m *moves) compare(t *testing.T) {
	for _, e := range m.world.endpoints {
		for _, name := range []string{"goes", "returns", "relabelled", "moved"} {
			a := m.world.recorder.stretches(source{theirs, e}, name, m.ended)
			b := m.world.recorder.stretches(source{ours, e}, name, m.ended)
			if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
				t.Errorf("%v %s:\n\tPrometheus: %s\n\tenvoy-scraper: %s", e, name, x, y)
			}
		}
	}
}
