package differential

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// A job is a scrape job of the configuration. All its targets play the same script.
type job struct {
	name    string
	keys    string // more keys of the job, indented by two
	script  []answer
	targets int // number of targets; 0: one
	dropped int // number of additional targets, which the job's rules drop by their label case="dropped"
}

// cases returns the names of the job's targets: the values of their label case.
func (j job) cases() []string {
	names := []string{j.name}
	for i := 2; i <= j.targets; i++ {
		names = append(names, fmt.Sprintf("%s %d", j.name, i))
	}
	return names
}

// yaml returns the job for the configuration file.
func (j job) yaml(addresses []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "- job_name: %s\n%s  static_configs:\n", j.name, j.keys)
	for i, name := range j.cases() {
		fmt.Fprintf(&b, "  - targets: [%s]\n    labels: {case: %s, zone: target}\n", addresses[i], name)
	}
	for i := range j.dropped {
		fmt.Fprintf(&b, "  - targets: [nowhere-%d:80]\n    labels: {case: dropped}\n", i)
	}
	return b.String()
}

// TestDifferential compares what both agents wrote, scrape by scrape. DIFFERENTIAL_SEEDS sets the number of random jobs
// (default 6) and DIFFERENTIAL_STEPS the number of scrapes of each (default 20). DIFFERENTIAL_SCRAPES sets the numbers
// of scrapes of a target in a request (default 1,3; all that are of interest: 1,2,3,5).
func TestDifferential(t *testing.T) {
	w := newWorld(t)
	w.start(w.settings())
	// Prometheus does not send samples that are dated before its start. So the timestamps on pages lie between the
	// start and the first scrape.
	base := time.Now()
	w.until(time.Minute, "pages may date samples", func() bool { return time.Since(base) > ownRange })

	jobs := append(writtenJobs(base), randomJobs(base, setting(t, "DIFFERENTIAL_SEEDS", 6),
		setting(t, "DIFFERENTIAL_STEPS", 20))...)
	var yaml strings.Builder
	yaml.WriteString(w.settings() + "scrape_configs:\n")
	steps := 0
	for _, j := range jobs {
		var addresses []string
		for range j.cases() {
			addresses = append(addresses, newTarget(t, j.script).address)
		}
		yaml.WriteString(j.yaml(addresses))
		steps = max(steps, len(j.script))
	}
	moves := newMoves(w)
	yaml.WriteString(moves.yaml())
	w.reload(yaml.String())
	go moves.play()
	w.until(time.Duration(steps)*interval+90*time.Second, "the scripts are over", func() bool {
		for _, j := range jobs {
			for _, name := range j.cases() {
				for _, from := range w.sources() {
					// Series of a target may wait one delay longer than the others.
					if len(w.recorder.times(from, clockOf(name))) <= len(j.script)+from.endpoint.scrapes {
						return false
					}
				}
			}
		}
		return moves.over()
	})
	for _, j := range jobs {
		t.Run(j.name, func(t *testing.T) {
			for _, name := range j.cases() {
				for _, e := range w.endpoints {
					w.compare(t, e, name, len(j.script), base)
					w.compareOrder(t, e, name, len(j.script), base)
				}
			}
		})
	}
	t.Run("moves", moves.compare)
	t.Run("metadata", w.compareMetadata)
	t.Run("metadata of series", w.compareSeriesMetadata)
	t.Run("requests", w.compareRequests)
	t.Run("targets", w.compareTargets)
	for why, n := range w.explained {
		t.Logf("%d deliberate differences: %s", n, why)
	}
}

// compare reports every difference between the agents that explain does not explain.
func (w *world) compare(t *testing.T, e endpoint, name string, scrapes int, base time.Time) {
	t.Helper()
	a := w.recorder.cells(source{theirs, e}, name, scrapes, base.UnixMilli())
	b := w.recorder.cells(source{ours, e}, name, scrapes, base.UnixMilli())
	if len(a) == 0 {
		t.Errorf("%v %s: Prometheus wrote nothing", e, name)
	}
	var found []difference
	for _, d := range differ(a, b) {
		if why := explain(name, d); why != "" {
			w.explained[why]++
			continue
		}
		found = append(found, d)
	}
	const most = 12
	for i, d := range found {
		if i == most {
			t.Errorf("%v %s: and %d more differences", e, name, len(found)-most)
			break
		}
		t.Errorf("%v %s: %v", e, name, d)
	}
	t.Logf("%v %s: %d values compared", e, name, len(a))
}

func (w *world) sources() []source {
	var all []source
	for _, a := range both {
		for _, e := range w.endpoints {
			all = append(all, source{a, e})
		}
	}
	return all
}

func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 0 {
		t.Fatalf("%s=%s: not a number", name, text)
	}
	return n
}
