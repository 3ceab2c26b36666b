package web

import (
	"cmp"
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

// jobList describes the list of the jobs: those with failed targets first.
func jobList() list[jobSummary] {
	by := func(text, key string, number func(jobSummary) int) column[jobSummary] {
		return column[jobSummary]{Text: text, Key: key, Number: true, Compare: func(a, b jobSummary) int {
			return cmp.Compare(number(a), number(b))
		}}
	}
	byJob := func(a, b jobSummary) int { return strings.Compare(a.Job, b.Job) }
	return list[jobSummary]{
		Noun: "jobs",
		Columns: []column[jobSummary]{
			{Text: "Job", Key: "job", Compare: byJob},
			by("Targets", "targets", func(j jobSummary) int { return j.Tally.Total() }),
			by("Up", "up", func(j jobSummary) int { return j.Tally.Up }),
			by("Down", "down", func(j jobSummary) int { return j.Tally.Down }),
			by("Not scraped yet", "unknown", func(j jobSummary) int { return j.Tally.Unknown }),
			by("Dropped", "dropped", func(j jobSummary) int { return j.Dropped }),
			{Text: "Health"},
		},
		Order: func(a, b jobSummary) int { return cmp.Or(b.Tally.Down-a.Tally.Down, byJob(a, b)) },
	}
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
