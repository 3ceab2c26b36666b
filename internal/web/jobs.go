package web

import (
	"net/url"
	"slices"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// jobSummary is a job as the overview shows it. The lists take what they do not show as rows from it.
type jobSummary struct {
	Job     string
	Tally   tally
	Dropped int
	Others  int      // scraped by other shards
	Hidden  int      // dropped targets beyond keep_dropped_targets, whose labels are not kept
	Errors  []string // why discovered targets are not valid
	Link    string   // query of the lists: the rows of this job
}

func summarize(pools []scrape.PoolStatus) []jobSummary {
	out := make([]jobSummary, 0, len(pools))
	for _, p := range pools {
		j := jobSummary{Job: p.Job, Dropped: p.DroppedCount, Hidden: max(0, p.DroppedCount-len(p.Dropped)),
			Others: p.Others, Errors: p.Errors, Link: "?" + url.Values{"job": {p.Job}}.Encode()}
		for i := range p.Targets {
			j.Tally.add(p.Targets[i].Health)
		}
		out = append(out, j)
	}
	return out
}

// pools returns the status of the pools, sorted by job.
func (s *Server) pools() []scrape.PoolStatus {
	pools := slices.Clone(s.src.Targets())
	slices.SortStableFunc(pools, func(a, b scrape.PoolStatus) int { return strings.Compare(a.Job, b.Job) })
	return pools
}

// named returns the pool of a name, or all pools if name is empty.
func named(pools []scrape.PoolStatus, name string) []scrape.PoolStatus {
	if name == "" {
		return pools
	}
	for i := range pools {
		if pools[i].Job == name {
			return pools[i : i+1]
		}
	}
	return nil
}

// tally counts targets by health.
type tally struct {
	Up, Down, Unknown int
}

func (t *tally) add(h scrape.Health) {
	switch h {
	case scrape.HealthUp:
		t.Up++
	case scrape.HealthDown:
		t.Down++
	default:
		t.Unknown++
	}
}

func (t tally) Total() int { return t.Up + t.Down + t.Unknown }
