package simulate

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"
)

// badFile is a mistake in a configuration file.
type badFile struct {
	name string
	of   func(good string) string // makes the bad file of a good one
}

func badFiles() []badFile {
	instead := func(old, new string) func(string) string {
		return func(good string) string { return strings.Replace(good, old, new, 1) }
	}
	return []badFile{
		{"no YAML", instead("scrape_configs:\n", "scrape_configs: [\n")},
		{"half a file", func(good string) string { return good[:strings.Index(good, "remote_write:")+20] }},
		{"an unknown key", instead("scrape_configs:\n", "scrape_confiks: []\nscrape_configs:\n")},
		{"an invalid regex", instead("{target_label: rev,", "{target_label: rev, regex: '(',")},
		{"a job twice", instead("remote_write:\n", "- job_name: envoy\nremote_write:\n")},
		{"no file with the certificates of targets",
			instead("  metrics_path:", "  tls_config: {ca_file: /does/not/exist}\n  metrics_path:")},
		{"no file with the certificates of a receiver",
			instead("  remote_timeout:", "  tls_config: {ca_file: /does/not/exist}\n  remote_timeout:")},
	}
}

// beginBadFile gives all agents a bad file. They refuse it and go on as before. A process that starts meanwhile ends at
// once. At the end the file is good again.
func beginBadFile(w *world, _ scheduledFault, chance *rand.Rand) func() {
	if w.bad != nil {
		return nil
	}
	all := badFiles()
	w.bad = &all[chance.IntN(len(all))]
	w.trace.add("bad file: %s", w.bad.name)
	w.reloadBadFile()
	var end func()
	end = func() {
		if w.aDiskFails() { // the good file may have another endpoint
			w.later(7*time.Second, end)
			return
		}
		w.bad = nil
		w.reload(w.revision)
		w.checkReloads(1)
	}
	return end
}

// reloadBadFile lets all agents load the bad file, and checks that they refuse it.
func (w *world) reloadBadFile() {
	for _, r := range w.agents {
		if err := r.write(); err != nil {
			w.problem("agent %d: %v", r.n, err)
		}
		if r.process == nil {
			continue
		}
		if err := r.process.agent.Reload(context.Background()); err == nil {
			w.problem("agent %d: a reload of a file with %s succeeds", r.n, w.bad.name)
		}
		if loaded := r.process.agent.Sources().Loaded(); loaded.Refused.IsZero() || loaded.Why == nil {
			w.problem("agent %d: its pages do not say that a file with %s was refused", r.n, w.bad.name)
		}
	}
	w.checkReloads(0)
}

// checkReloads checks that the metric about the last reload of each agent has a value.
func (w *world) checkReloads(want float64) {
	const name = "envoy_scraper_config_last_reload_successful"
	for _, r := range w.agents {
		if r.process == nil {
			continue
		}
		if got, there := r.process.gauge(name); !there || got != want {
			w.problem("agent %d: %s is %v, want %v", r.n, name, got, want)
		}
	}
}

// gauge returns the value of a metric without labels; false: there is none.
func (p *process) gauge(name string) (float64, bool) {
	families, err := p.reg.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue(), true
		}
	}
	return 0, false
}
