package runner

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// Way is one way of samples from the sidecars into a store. A store is the program that keeps the samples; in a real
// run it is a Prometheus.
type Way struct {
	Name  string
	Agent *Agent // nil: the store scrapes by itself
	// Scrapes is the delay that the agent may take (batch_send_deadline), in scrape intervals: how many samples of a
	// series a request can hold. 0: the agent's default, which is shorter than an interval.
	Scrapes int
	Job     Job
}

// Direct is the name of the way without an agent, which the others are compared with.
const Direct = "prometheus-direct"

// Ways lists what can be measured: without an agent, ours with each delay, peers.
func Ways() []Way {
	ways := []Way{{Name: Direct}}
	agents := map[string]Agent{}
	for _, a := range Agents() {
		agents[a.Name] = a
	}
	add := func(agent string, scrapes int) {
		a, name := agents[agent], agent
		if scrapes > 0 {
			name = fmt.Sprintf("%s-n%d", agent, scrapes)
		}
		ways = append(ways, Way{Name: name, Agent: &a, Scrapes: scrapes})
	}
	for _, agent := range []string{"envoy-scraper-2.0", "envoy-scraper-1.0"} {
		for _, scrapes := range []int{0, 3, 6} {
			add(agent, scrapes)
		}
	}
	add("prometheus-2.0", 0)
	add("vmagent", 0)
	return ways
}

// FindWays resolves names separated by commas: "all" are all ways, "ours" those with our agent.
func FindWays(names string) ([]Way, error) {
	all := Ways()
	var found []Way
	for name := range strings.SplitSeq(names, ",") {
		matches := slices.DeleteFunc(slices.Clone(all), func(w Way) bool {
			return w.Name != name && name != "all" && (name != "ours" || w.Agent == nil || w.Agent.Peer)
		})
		if len(matches) == 0 {
			return nil, fmt.Errorf("way %q is not one of all, ours, %s", name, strings.Join(wayNames(all), ", "))
		}
		found = append(found, matches...)
	}
	return found, nil
}

func wayNames(ways []Way) []string {
	var names []string
	for _, w := range ways {
		names = append(names, w.Name)
	}
	return names
}

// delay is batch_send_deadline; 0: the agent's default.
func (w Way) delay(interval time.Duration) time.Duration { return time.Duration(w.Scrapes) * interval }

// WholeConfig says which ways to measure. The Cases of Config are not used.
type WholeConfig struct {
	Config
	Fleet   fleet.Config
	Ways    []Way
	Store   Agent         // takes what the agents send, and scrapes by itself where there is no agent
	Profile bool          // profile the store, in one more window
	Outage  time.Duration // for CatchUp: how long the store is down
}

// caseOf returns the case of a way's agent; without one, of the store.
func (c WholeConfig) caseOf(w Way) Case {
	k := Case{Name: w.Name, Agent: c.Store, Fleet: c.Fleet, Delay: w.delay(c.Interval), Job: w.Job}
	if w.Agent != nil {
		k.Agent = *w.Agent
	}
	return k
}

// fit makes the warm-up and the windows multiples of every way's delay, since a target is sent once per delay, and the
// warm-up two of the longest. All ways have the same, so that the store's database is of the same age in all.
func (c WholeConfig) fit() WholeConfig {
	unit, longest := 1, 0
	for _, w := range c.Ways {
		if w.Scrapes > 0 {
			unit = unit / divisor(unit, w.Scrapes) * w.Scrapes
			longest = max(longest, w.Scrapes)
		}
	}
	if longest == 0 {
		return c
	}
	total, step := time.Duration(c.Windows)*c.Window, time.Duration(unit)*c.Interval
	up := func(d time.Duration) time.Duration { return (d + step - 1) / step * step }
	c.Warmup = up(max(c.Warmup, 2*time.Duration(longest)*c.Interval))
	c.Window = up(c.Window)
	c.Windows = max(1, int(total/c.Window))
	return c
}

// divisor is the greatest common divisor.
func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// PrometheusStore is a Prometheus that stores samples, in its default settings.
func PrometheusStore() Agent {
	return Agent{Name: "prometheus", Program: "prometheus", Peer: true, Synthetic: 5, Prepare: prometheusStore}
}

func prometheusStore(s Setup) (Command, error) {
	file, err := s.writeConfig("prometheus.yml", s.scrapeConfig())
	return Command{Args: []string{
		"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(s.Dir, "data"),
		"--web.listen-address=" + s.Web, "--web.enable-remote-write-receiver",
		"--query.max-samples=1000000000", // for the count at the end
	}}, err
}
