package remotewrite

import (
	"fmt"
	"slices"
)

// step is what Apply does with one endpoint.
type step struct {
	endpoint *endpoint
	replace  *settings // nil: the settings stay
	fresh    bool
}

// unused adds a number to a label if an endpoint that stays has it: an endpoint that got another URL keeps its first
// label.
func unused(label string, steps []step) string {
	taken := func(l string) bool {
		return slices.ContainsFunc(steps, func(s step) bool { return s.endpoint != nil && s.endpoint.label == l })
	}
	free := label
	for n := 2; taken(free); n++ {
		free = fmt.Sprintf("%s#%d", label, n)
	}
	return free
}

// match finds the running endpoint for each of the wanted settings: by equal settings first, then by name or, without
// one, by URL, then by receiver, whatever the names are. If one unnamed endpoint is left on each side, they belong
// together. gone are the endpoints that are not wanted any more.
func match(wanted []*settings, current []*endpoint) (steps []step, gone []*endpoint) {
	steps = make([]step, len(wanted))
	used := map[*endpoint]bool{}
	take := func(fits func(*endpoint, *settings) bool, keep bool) {
		for i, s := range wanted {
			for _, e := range current {
				if steps[i].endpoint == nil && !used[e] && fits(e, s) {
					used[e], steps[i].endpoint = true, e
					if !keep {
						steps[i].replace = s
					}
				}
			}
		}
	}
	take(func(e *endpoint, s *settings) bool { return e.settings.Load().equal(s) }, true)
	take(func(e *endpoint, s *settings) bool { return e.settings.Load().same(s) }, false)
	take(func(e *endpoint, s *settings) bool { return e.settings.Load().sameReceiver(s) }, false)
	left := 0
	for i, s := range wanted {
		if s.Name == "" && steps[i].endpoint == nil {
			left++
		}
	}
	for _, e := range current {
		if !used[e] {
			gone = append(gone, e)
		}
	}
	unnamed := func(e *endpoint) bool { return e.settings.Load().Name == "" }
	if at := slices.IndexFunc(gone, unnamed); left == 1 && at >= 0 && !slices.ContainsFunc(gone[at+1:], unnamed) {
		take(func(e *endpoint, s *settings) bool { return unnamed(e) && s.Name == "" }, false)
		gone = slices.Delete(gone, at, at+1)
	}
	return steps, gone
}

// labelsOf returns the names of endpoints in metrics and logs.
func labelsOf(all []*settings) []string {
	return numbered(len(all), "#", func(i int) string { return all[i].label() })
}
