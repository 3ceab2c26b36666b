package differential

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A difference is one series and moment for which the two agents wrote different values.
type difference struct {
	at, series   string
	theirs, ours []string // what each agent wrote
}

func (d difference) String() string {
	return fmt.Sprintf("%s %s\n\tPrometheus:    %s\n\tenvoy-scraper: %s", d.at, d.series, strings.Join(d.theirs, ", "),
		strings.Join(d.ours, ", "))
}

// cell identifies a series at a moment. Both agents have the same name for the same moment, although their clocks
// differ.
type cell struct{ at, series string }

// clock names moments by the number of the scrape.
type clock struct {
	scrapes []int64 // Unix milliseconds, ascending
	base    int64   // origin of the timestamps on pages
}

// name returns "017" at the time of scrape 17, "017+2" two intervals later, and "own+050" for a timestamp from the
// page.
func (c clock) name(ms int64) string {
	if d := ms - c.base; 0 <= d && d < ownRange.Milliseconds() {
		return fmt.Sprintf("own+%03d", d)
	}
	i, exact := slices.BinarySearch(c.scrapes, ms)
	if exact {
		return fmt.Sprintf("%03d", i)
	}
	if i == 0 {
		return "before"
	}
	after := float64(ms-c.scrapes[i-1]) / float64(interval.Milliseconds())
	whole := int(after + 0.5)
	if off := after - float64(whole); max(off, -off) > 0.35 {
		return fmt.Sprintf("%03d+%.2f", i-1, after)
	}
	return fmt.Sprintf("%03d+%d", i-1, whole)
}

// after reports whether a moment is that of scrape n or a later one.
func after(at string, n int) bool {
	return !strings.HasPrefix(at, "own") && at >= fmt.Sprintf("%03d", n)
}

// cells returns what an agent wrote for a case, up to scrape n. Later scrapes do not count, because the script had
// ended.
func (r *recorder) cells(from source, name string, n int, base int64) map[cell][]string {
	clock := clock{scrapes: r.times(from, clockOf(name)), base: base}
	r.mu.Lock()
	defer r.mu.Unlock()
	cells := map[cell][]string{}
	for series, items := range r.series[from] {
		if !ofCase(series, name) {
			continue
		}
		for _, w := range items {
			at := clock.name(w.time)
			if after(at, n) {
				continue
			}
			text := w.text
			if strings.Contains(series, `__name__="scrape_duration_seconds"`) && text != "stale" {
				text = "some time"
			}
			key := cell{at, series}
			cells[key] = append(cells[key], text)
		}
	}
	return cells
}

// differ returns the cells that differ between two agents, in order of time.
func differ(theirs, ours map[cell][]string) []difference {
	keys := map[cell]bool{}
	for k := range theirs {
		keys[k] = true
	}
	for k := range ours {
		keys[k] = true
	}
	order := slices.SortedFunc(maps.Keys(keys), func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.series, b.series))
	})
	var out []difference
	for _, k := range order {
		if !slices.Equal(theirs[k], ours[k]) {
			out = append(out, difference{k.at, k.series, theirs[k], ours[k]})
		}
	}
	return out
}

// ownRange is the range of the timestamps on pages, counted from the base. It ends before the first scrape.
const ownRange = time.Second
