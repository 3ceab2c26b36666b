package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// delayFile is a file with two endpoints and two jobs; ext is its envoy_scraper block, deadline a queue_config of prod.
func delayFile(ext, deadline string) string {
	return "envoy_scraper:" + ext + "\nglobal: {scrape_interval: 10s}\nremote_write:\n- name: prod\n" +
		"  url: http://prod/api/v1/write\n  queue_config: {" + deadline + "}\n- name: archive\n" +
		"  url: http://archive/api/v1/write\nscrape_configs:\n- {job_name: fast, static_configs: [{targets: " +
		"['a:1']}]}\n- {job_name: slow, scrape_interval: 30s, static_configs: [{targets: ['b:1']}]}\n"
}

// notesOf returns the notes of a configuration, without the name of its file.
func notesOf(cfg *Config) string {
	var out []string
	for _, n := range cfg.Notes {
		out = append(out, strings.TrimPrefix(n.String(), n.File))
	}
	return strings.Join(out, "\n")
}

// TestMaxDelay: max_delay, of all entries or of one, becomes the batch_send_deadline of the endpoints. Notes say how
// many scrapes a request holds.
func TestMaxDelay(t *testing.T) {
	for name, c := range map[string]struct {
		ext, deadline string
		prod, archive time.Duration
		notes         []string
	}{
		"nothing written": {"", "", 5 * time.Second, 5 * time.Second, nil},
		"Prometheus' key": {"", "batch_send_deadline: 20s", 20 * time.Second, 5 * time.Second, []string{
			":6: note: remote_write prod: 2 scrapes a request (batch_send_deadline 20s, scrape_interval 10s)",
			":6: note: remote_write prod: 1 scrape a request (batch_send_deadline 20s, scrape_interval 30s)",
		}},
		"all entries": {"\n  max_delay: 30s", "", 30 * time.Second, 30 * time.Second, []string{
			":2: note: remote_write prod: 3 scrapes a request (max_delay 30s, scrape_interval 10s)",
			":2: note: remote_write prod: 1 scrape a request (max_delay 30s, scrape_interval 30s)",
			":2: note: remote_write archive: 3 scrapes a request (max_delay 30s, scrape_interval 10s)",
			":2: note: remote_write archive: 1 scrape a request (max_delay 30s, scrape_interval 30s)",
		}},
		"one entry": {"\n  endpoints:\n  - name: archive\n    max_delay: 75s", "", 5 * time.Second, 75 * time.Second,
			[]string{
				":4: note: remote_write archive: 7 scrapes a request (max_delay 1m15s, scrape_interval 10s)",
				":4: note: remote_write archive: 2 scrapes a request (max_delay 1m15s, scrape_interval 30s)",
			}},
		"both": {" {max_delay: 20s, endpoints: [{name: archive, max_delay: 1m}]}", "", 20 * time.Second, time.Minute,
			[]string{
				":1: note: remote_write prod: 2 scrapes a request (max_delay 20s, scrape_interval 10s)",
				":1: note: remote_write prod: 1 scrape a request (max_delay 20s, scrape_interval 30s)",
				":1: note: remote_write archive: 6 scrapes a request (max_delay 1m, scrape_interval 10s)",
				":1: note: remote_write archive: 2 scrapes a request (max_delay 1m, scrape_interval 30s)",
			}},
		"shorter than the default": {" {max_delay: 1s}", "", time.Second, time.Second, []string{
			":1: note: remote_write prod: 1 scrape a request (max_delay 1s, scrape_interval 10s)",
			":1: note: remote_write prod: 1 scrape a request (max_delay 1s, scrape_interval 30s)",
			":1: note: remote_write archive: 1 scrape a request (max_delay 1s, scrape_interval 10s)",
			":1: note: remote_write archive: 1 scrape a request (max_delay 1s, scrape_interval 30s)",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := load(t, Options{}, delayFile(c.ext, c.deadline))
			for i, want := range []time.Duration{c.prod, c.archive} {
				e := cfg.RemoteWrite.Endpoints[i]
				if got := time.Duration(e.QueueConfig.BatchSendDeadline); got != want {
					t.Errorf("batch_send_deadline of %s = %v, want %v", e.Name, got, want)
				}
			}
			if got, want := notesOf(cfg), strings.Join(c.notes, "\n"); got != want {
				t.Errorf("notes\n%s\nwant\n%s", got, want)
			}
			if len(cfg.Warnings) > 0 {
				t.Errorf("warnings: %v", cfg.Warnings)
			}
		})
	}
}

// TestMaxDelayOfTheFlag: max_delay applies to the receiver of --remote-write.url, which check does not know.
func TestMaxDelayOfTheFlag(t *testing.T) {
	const text = "envoy_scraper: {max_delay: 2m}\n" + someJob
	cfg := load(t, Options{RemoteWriteURL: "http://r/write"}, text)
	if got := cfg.RemoteWrite.Endpoints[0].QueueConfig.BatchSendDeadline; got != model.Duration(2*time.Minute) {
		t.Errorf("batch_send_deadline = %v, want 2m", got)
	}
	if got, want := notesOf(load(t, Options{Check: true}, text)),
		":1: note: remote_write: 2 scrapes a request (max_delay 2m, scrape_interval 1m)"; got != want {
		t.Errorf("notes of check: %s, want %s", got, want)
	}
}

// TestFastJobIsNoted: an interval that fits twice into the default is noted, although nothing is written.
func TestFastJobIsNoted(t *testing.T) {
	cfg := load(t, Options{}, someRemote+"scrape_configs: [{job_name: a, scrape_interval: 2s, scrape_timeout: 2s, "+
		"static_configs: [{targets: ['a:1']}]}]\n")
	const want = ":1: note: remote_write http://r/write: 2 scrapes a request (batch_send_deadline 5s, " +
		"scrape_interval 2s)"
	if got := notesOf(cfg); got != want {
		t.Errorf("notes: %s, want %s", got, want)
	}
}

// TestMaxDelayMistakes: the exact errors and warnings about delays.
func TestMaxDelayMistakes(t *testing.T) {
	const (
		tooLong = "more than 10m: Prometheus' queries look back 5m, so alerts and graphs would have no present value " +
			"for most of the time (write at most 10m; to send fewer samples, raise scrape_interval)"
		zero = "0s: must be more than 0 (write a time, as 30s, or remove the key: then batch_send_deadline applies " +
			"(default: 5s))"
		leaves = "; Prometheus' queries look back 5m: in between, alerts have no value and graphs end early (write " +
			"at most 4m30s, which leaves 30s for a scrape and a request, or raise --query.lookback-delta of the " +
			"receiver)"
		twice = "has no effect: a request holds two scrapes of a target only if it is scraped twice in that time, " +
			"and the shortest scrape_interval is "
	)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"zero": {delayFile("\n  max_delay: 0s", ""), []string{":2: envoy_scraper.max_delay: " + zero}},
		"negative": {delayFile("\n  max_delay: -30s", ""), []string{":2: envoy_scraper.max_delay: -30s: not a valid " +
			"duration string: \"-30s\" (remove the sign: a time cannot be negative)"}},
		"no unit": {delayFile("\n  max_delay: 30", ""), []string{":2: envoy_scraper.max_delay: 30: not a valid " +
			"duration string: \"30\" (write a number and a unit, as 15s or 1m30s)"}},
		"too long": {delayFile("\n  max_delay: 10m1s", ""), []string{":2: envoy_scraper.max_delay: 10m1s: " + tooLong}},
		"zero, too long, of entries": {
			delayFile("\n  endpoints:\n  - {name: prod, max_delay: 0}\n  - {name: archive, max_delay: 1h}", ""),
			[]string{":3: envoy_scraper.endpoints[0].max_delay: " + zero,
				":4: envoy_scraper.endpoints[1].max_delay: 1h: " + tooLong}},
		"unknown name": {delayFile("\n  endpoints:\n  - name: prd\n    max_delay: 30s", ""), []string{
			":3: envoy_scraper.endpoints[0].name: prd: no entry of remote_write has this name (write one of prod, " +
				"archive)",
		}},
		"unknown name, and there is none": {
			"envoy_scraper: {endpoints: [{name: prod, max_delay: 2m}]}\n" + someRemote + someJob, []string{
				":1: envoy_scraper.endpoints[0].name: prod: no entry of remote_write has this name (give an entry of " +
					"remote_write this name)"}},
		"one name twice": {
			delayFile("\n  endpoints:\n  - {name: prod, max_delay: 30s}\n  - {name: prod, max_delay: 1m}", ""),
			[]string{":4: envoy_scraper.endpoints[1].name: prod: endpoints[0] has this name too (remove one of the " +
				"two)"}},
		"no name": {delayFile("\n  endpoints:\n  - max_delay: 30s\n  - null", ""), []string{
			":3: envoy_scraper.endpoints[0]: the name is missing (add the name of an entry of remote_write, as name: " +
				"prod)",
			":4: envoy_scraper.endpoints[1]: the name is missing (add the name of an entry of remote_write, as name: " +
				"prod)",
			":4: envoy_scraper.endpoints[1]: max_delay is missing, so the entry has no effect (add max_delay, or " +
				"remove the entry)"}},
		"no max_delay": {delayFile("\n  endpoints:\n  - name: prod", ""), []string{":3: envoy_scraper.endpoints[0]: " +
			"prod: max_delay is missing, so the entry has no effect (add max_delay, or remove the entry)"}},
		"a misspelt key": {delayFile("\n  endpoints:\n  - name: prod\n    max_dely: 30s\n    max_delay: 30s", ""),
			[]string{":4: envoy_scraper.endpoints[0].max_dely: 30s: unknown key (did you mean max_delay? otherwise " +
				"remove it)"}},

		"two keys that differ": {delayFile("\n  max_delay: 30s", "batch_send_deadline: 10s"), []string{":7: warning: " +
			"remote_write[0].queue_config.batch_send_deadline: 10s: envoy_scraper.max_delay on line 2 overrides it " +
			"with 30s (remove one of the two)"}},
		"two keys that differ, of an entry": {
			delayFile("\n  endpoints:\n  - name: prod\n    max_delay: 1m", "batch_send_deadline: 10s"), []string{
				":9: warning: remote_write[0].queue_config.batch_send_deadline: 10s: " +
					"envoy_scraper.endpoints[0].max_delay on line 4 overrides it with 1m (remove one of the two)"}},
		"two keys that agree": {delayFile("\n  max_delay: 60s", "batch_send_deadline: 1m"), nil},
		"no interval fits twice": {delayFile("\n  max_delay: 19s", ""), []string{
			":2: warning: envoy_scraper.max_delay: 19s: " + twice + "10s (write at least 20s, or remove it)"}},
		"no interval fits twice, of an entry": {delayFile("\n  endpoints:\n  - name: archive\n    max_delay: 5s", ""),
			[]string{":4: warning: envoy_scraper.endpoints[0].max_delay: 5s: " + twice +
				"10s (write at least 20s, or remove it)"}},
		"an interval that cannot fit twice": {"envoy_scraper: {max_delay: 1m}\n" + someRemote +
			"scrape_configs: [{job_name: a, scrape_interval: 6m, static_configs: [{targets: ['a:1']}]}]\n", []string{
			":1: warning: envoy_scraper.max_delay: 1m: " + twice + "6m (remove it)"}},
		"targets with intervals of their own": {"envoy_scraper: {max_delay: 1m}\n" + someRemote + "scrape_configs: " +
			"[{job_name: a, static_configs: [{targets: ['a:1'], labels: {__scrape_interval__: 10s}}]}]\n", nil},
		"rules that set intervals": {"envoy_scraper: {max_delay: 1m}\n" + someRemote + "scrape_configs: [{job_name: " +
			"a, static_configs: [{targets: ['a:1']}], relabel_configs: [{target_label: __scrape_interval__, " +
			"replacement: 10s}]}]\n", nil},
		"a delay that every entry overrides": {
			delayFile("\n  max_delay: 20s\n  endpoints:\n  - {name: prod, max_delay: 30s}\n  - {name: archive, "+
				"max_delay: 30s}", ""), []string{":2: warning: envoy_scraper.max_delay: 20s: has no effect: each " +
				"entry of remote_write has its own in endpoints (remove it)"}},
		"longer than queries look back": {delayFile("\n  max_delay: 4m40s", ""), []string{":2: warning: " +
			"envoy_scraper.max_delay: 4m40s: 28 scrapes of 10s take 4m40s, so the newest sample of a series is up to " +
			"4m40s old when the next request leaves" + leaves}},
		"just as long as queries look back": {delayFile("\n  max_delay: 4m39s", ""), nil},
		"longer than queries look back, by Prometheus' key": {delayFile("", "batch_send_deadline: 6m"), []string{
			":6: warning: remote_write[0].queue_config.batch_send_deadline: 6m: 36 scrapes of 10s take 6m, so the " +
				"newest sample of a series is up to 6m old when the next request leaves" + leaves}},
		"longer than sample_age_limit": {delayFile("\n  max_delay: 1m", "sample_age_limit: 30s"), []string{":2: " +
			"warning: envoy_scraper.max_delay: 1m: samples wait that long, and remote_write[0].queue_config." +
			"sample_age_limit drops those older than 30s (write at most 30s, or raise sample_age_limit)"}},
		"shorter than sample_age_limit": {
			delayFile("\n  max_delay: 1m", "sample_age_limit: 2m"), nil},
		"longer than sample_age_limit, with one scrape": {
			delayFile("", "batch_send_deadline: 15s, sample_age_limit: 10s"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := strings.Join(problemsOf(t, Options{}, c.text), "\n"), strings.Join(c.want, "\n")
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestScrapesPerRequest: as many intervals as fit into the delay, at least one.
func TestScrapesPerRequest(t *testing.T) {
	for _, c := range []struct {
		delay, interval time.Duration
		want            int
	}{
		{5 * time.Second, 10 * time.Second, 1},
		{10 * time.Second, 10 * time.Second, 1},
		{19999 * time.Millisecond, 10 * time.Second, 1},
		{20 * time.Second, 10 * time.Second, 2},
		{30 * time.Second, 10 * time.Second, 3},
		{30 * time.Second, 15 * time.Second, 2},
		{time.Minute, 15 * time.Second, 4},
		{0, 15 * time.Second, 1},
	} {
		if got := scrapesPerRequest(model.Duration(c.delay), model.Duration(c.interval)); got != c.want {
			t.Errorf("delay %v, interval %v: %d scrapes, want %d", c.delay, c.interval, got, c.want)
		}
	}
}

// TestShardsNameMaxDelay: the warning about the order of samples while the number of shards changes names the key that
// decides.
func TestShardsNameMaxDelay(t *testing.T) {
	cfg := load(t, Options{Check: true}, delayFile(" {shards: [{count: 1}, {count: 2, from: 2030-01-01T00:00:00Z}], "+
		"endpoints: [{name: archive, max_delay: 20s}]}", ""))
	w := warned(t, cfg, "scrape_configs[0].scrape_interval")
	const why = "not longer than max_delay, 20s: when a target moves to another shard, its last sample may arrive " +
		"after the next one"
	const fix = "set envoy_scraper.endpoints[0].max_delay to less than half the interval until the number of shards " +
		"has changed"
	if w.Why != why || w.Fix != fix || len(cfg.Warnings) != 1 {
		t.Errorf("warnings: %v, want one: %s (%s)", cfg.Warnings, why, fix)
	}
}

// TestRedactedKeepsTheDelay: the printed configuration has max_delay, and as batch_send_deadline the delay in force.
func TestRedactedKeepsTheDelay(t *testing.T) {
	const ext = " {max_delay: 20s, endpoints: [{name: archive, max_delay: 1m}]}"
	text, err := load(t, Options{}, delayFile(ext, "")).Redacted()
	if err != nil {
		t.Fatal(err)
	}
	for want, n := range map[string]int{"batch_send_deadline: 20s": 1, "batch_send_deadline: 1m": 1,
		"max_delay: 20s": 1, "max_delay: 1m": 1} {
		if got := strings.Count(text, want); got != n {
			t.Errorf("%q occurs %d times in\n%s", want, got, text)
		}
	}
	again := load(t, Options{}, text)
	var delays []string
	for _, e := range again.RemoteWrite.Endpoints {
		delays = append(delays, fmt.Sprint(e.Name, " ", e.QueueConfig.BatchSendDeadline))
	}
	if got := strings.Join(delays, ", "); got != "prod 20s, archive 1m" || len(again.Warnings) > 0 {
		t.Errorf("loaded again: %s, warnings %v", got, again.Warnings)
	}
}

// TestRequestsOfSeveralScrapesAreLarger: the default of max_samples_per_send counts series, and a written value counts
// samples.
func TestRequestsOfSeveralScrapesAreLarger(t *testing.T) {
	for name, c := range map[string]struct {
		deadline string
		want     int
		series   int
	}{
		"one scrape a request":    {"batch_send_deadline: 19s", 10_500, 10_500},
		"three scrapes a request": {"batch_send_deadline: 30s", 31_500, 10_500},
		"written":                 {"batch_send_deadline: 30s, max_samples_per_send: 4000", 4000, 0},
	} {
		cfg := load(t, Options{}, delayFile("", c.deadline))
		e := cfg.RemoteWrite.Endpoints[0]
		got := e.QueueConfig.MaxSamplesPerSend
		if got != c.want || e.SeriesPerSend != c.series {
			t.Errorf("%s: max_samples_per_send %d, series %d; want %d, %d", name, got, e.SeriesPerSend, c.want,
				c.series)
		}
	}
}
