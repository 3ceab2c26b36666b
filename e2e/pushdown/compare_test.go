package pushdown

import (
	"fmt"
	"slices"
	"strings"
)

// comparison is what both agents have of one target.
type comparison struct {
	auto, off *record
	// still reports whether nothing changes the values of a series when the traffic has stopped.
	still func(series string) bool
	// rises reports whether the values of a series never fall during a life: counters and buckets do not.
	rises func(series string) bool
}

// mostProblems is how many differences are listed.
const mostProblems = 20

// counts say what a comparison has seen.
type counts struct{ series, born, ended, between, equal int }

// compare returns every difference that is not explained by the two agents' scraping at different times.
func (c comparison) compare() (seen counts, problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for series := range c.off.series {
		if c.auto.series[series] == nil {
			report("auto has not %s", series)
		}
	}
	for series := range c.auto.series {
		if c.off.series[series] == nil {
			report("off has not %s", series)
		}
	}
	autoScrapes, offScrapes := c.auto.scrapes(), c.off.scrapes()
	begin := max(autoScrapes[0].at, offScrapes[0].at)
	slack := max(c.auto.longest(), c.off.longest())
	for series, theirs := range c.off.series {
		if c.auto.series[series] == nil {
			continue
		}
		seen.series++
		a, o := since(begin, lives(autoScrapes, c.auto.of(series))), since(begin, lives(offScrapes, *theirs))
		if len(a) != len(o) {
			report("%s: %d lives, with off %d", series, len(a), len(o))
			continue
		}
		for i := range o {
			if o[i].before > begin {
				seen.born++
			}
			if o[i].after != never {
				seen.ended++
			}
			problems = append(problems, differ(series, a[i], o[i], slack)...)
			if c.rises(series) {
				n, bad := between(a[i], o[i], slack)
				seen.between += n
				for _, p := range bad {
					report("%s: %s", series, p)
				}
			}
			if o[i].after == never && c.still(series) {
				seen.equal++
				if a, o := a[i].lastValue(), o[i].lastValue(); a != o {
					report("%s: at the end %v, with off %v", series, a, o)
				}
			}
		}
	}
	slices.Sort(problems)
	if len(problems) > mostProblems {
		problems = append(problems[:mostProblems], fmt.Sprintf("and %d more", len(problems)-mostProblems))
	}
	return seen, problems
}

// since leaves out lives that ended before a time, when one of the agents did not scrape yet.
func since(begin int64, all []life) []life {
	return slices.DeleteFunc(all, func(l life) bool { return l.after <= begin })
}

// differ compares two lives of a series. Envoy made it between before and first, and removed it between last and
// after, for both agents. slack is how much later than its timestamp Envoy may have answered a scrape.
func differ(series string, a, o life, slack int64) (problems []string) {
	if a.before > o.first+slack || o.before > a.first+slack {
		problems = append(problems, fmt.Sprintf("%s: appeared between %d and %d, with off between %d and %d", series,
			a.before, a.first, o.before, o.first))
	}
	if o.after != never && a.last > o.after+slack || a.after != never && o.last > a.after+slack {
		problems = append(problems, fmt.Sprintf("%s: ended between %d and %d, with off between %d and %d", series,
			a.last, a.after, o.last, o.after))
	}
	if a.after != never && !a.marked || o.after != never && !o.marked {
		problems = append(problems, fmt.Sprintf("%s: its end has a staleness marker: %t, with off %t", series, a.marked,
			o.marked))
	}
	return problems
}

// between compares values that never fall: one that was read between two scrapes of the other agent is between theirs.
func between(a, o life, slack int64) (compared int, problems []string) {
	for _, s := range a.samples {
		low, high, ok := o.around(s.at-slack, s.at+slack+1)
		if !ok {
			continue
		}
		compared++
		if s.value < low.value || s.value > high.value {
			problems = append(problems, fmt.Sprintf("%v at %d is not between %v at %d and %v at %d with off", s.value,
				s.at, low.value, low.at, high.value, high.at))
		}
	}
	return compared, problems
}

// of returns the samples of a series; nil: there are none.
func (r *record) of(series string) []sample {
	if samples := r.series[series]; samples != nil {
		return *samples
	}
	return nil
}

// familyTypes returns the types of the families on a page.
func familyTypes(page string) map[string]string {
	types := map[string]string{}
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, typ, _ := strings.Cut(strings.TrimSpace(rest), " ")
			types[name] = typ
		}
	}
	return types
}

// rising returns a function that reports whether a series is a counter, or of a histogram. The sum of a histogram is
// left out: Envoy computes it from buckets, with an error that may make it fall.
func rising(types map[string]string) func(series string) bool {
	return func(series string) bool {
		name := labelOf(series, "__name__")
		for _, suffix := range []string{"_bucket", "_count"} {
			if family, ok := strings.CutSuffix(name, suffix); ok && types[family] == "histogram" {
				return true
			}
		}
		return types[name] == "counter"
	}
}
