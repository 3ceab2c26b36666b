package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestS14LimitsNotWritten: every limit of a page has its default unless the file sets another value, or 0.
func TestS14LimitsNotWritten(t *testing.T) {
	for _, l := range limits {
		for name, c := range map[string]struct {
			global, job string // what is written
			want        uint64 // 1: the default
		}{
			"nothing":        {"", "", 1},
			"job":            {"", "7", 7},
			"global":         {"7", "", 7},
			"both":           {"7", "9", 9},
			"none in job":    {"", "0", 0},
			"none in global": {"0", "", 0},
			"null in global": {"null", "", 0},
		} {
			unit, global, job := "", "", ""
			if l.key == "body_size_limit" {
				unit = "B"
			}
			if c.global != "" {
				global = fmt.Sprintf("global: {%s: %s}\n", l.key, strings.Replace(c.global, "7", "7"+unit, 1))
			}
			if c.job != "" {
				job = fmt.Sprintf(", %s: %s", l.key, strings.Replace(c.job+unit, "0B", "0", 1))
			}
			cfg := load(t, Options{SelfScrape: true, ListenAddress: "127.0.0.1:1"},
				someRemote+global+"scrape_configs: [{job_name: a"+job+"}]\n")
			want := c.want
			if want == 1 {
				want = defaults[l.key]
			}
			for i, j := range cfg.Jobs {
				if i == 1 && c.job != "" { // our own job has not what another wrote
					continue
				}
				got := map[string]uint64{
					"body_size_limit": uint64(j.BodySizeLimit), "sample_limit": uint64(j.SampleLimit),
					"label_limit":              uint64(j.LabelLimit),
					"label_name_length_limit":  uint64(j.LabelNameLengthLimit),
					"label_value_length_limit": uint64(j.LabelValueLengthLimit),
				}[l.key]
				if got != want {
					t.Errorf("%s: %s: job %s has %d, want %d", l.key, name, j.JobName, got, want)
				}
			}
		}
	}
}

var defaults = map[string]uint64{
	"body_size_limit": 64 << 20, "sample_limit": 500_000, "label_limit": 500, "label_name_length_limit": 4096,
	"label_value_length_limit": 65536,
}

func TestS06OwnAddressJobs(t *testing.T) {
	const jobs = "scrape_configs: [{job_name: a}, {job_name: b}]\n"
	cfg := load(t, Options{}, someRemote+jobs+"envoy_scraper: {own_address_jobs: [b]}\n")
	if cfg.OwnAddressOnly("a") || !cfg.OwnAddressOnly("b") {
		t.Error("want b alone to scrape a pod's own addresses only")
	}
	if builtin := load(t, Options{RemoteWriteURL: "http://r/"}, ""); !builtin.OwnAddressOnly(builtin.BuiltinJob) ||
		builtin.OwnAddressOnly("a") {
		t.Error("want the built-in job alone to scrape a pod's own addresses only")
	}
	for text, key := range map[string]string{"[c]": "envoy_scraper.own_address_jobs[0]",
		"[a, a]": "envoy_scraper.own_address_jobs[1]"} {
		problems := refused(t, Options{}, someRemote+jobs+"envoy_scraper: {own_address_jobs: "+text+"}\n")
		problems = slices.DeleteFunc(problems, func(p Problem) bool { return p.Severity != SeverityError })
		if len(problems) != 1 || problems[0].Key != key {
			t.Errorf("%s: %v, want one about %s", text, problems, key)
		}
	}
}
