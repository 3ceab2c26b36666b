package cost

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/pushdown"
)

// ruleBlock is the part of a job that a fix shows.
type ruleBlock struct {
	Rules []rule `yaml:"metric_relabel_configs"`
}

type rule struct {
	SourceLabels []string `yaml:"source_labels,flow,omitempty"`
	Regex        string   `yaml:"regex"`
	Action       string   `yaml:"action"`
}

func (r rule) text() string {
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := enc.Encode(ruleBlock{[]rule{r}}); err != nil {
		return "# " + err.Error()
	}
	return text.String()
}

// ofJobs names jobs: the job envoy-stats, the jobs a, b.
func (t *tally) ofJobs(set jobSet) string {
	if set>>(jobBits-1) != 0 {
		return "each job"
	}
	var names []string
	for i, job := range t.totals.Jobs {
		if i < jobBits && set&(1<<i) != 0 {
			names = append(names, job)
		}
	}
	switch len(names) {
	case 0:
		return "each job"
	case 1:
		return "the job " + names[0]
	default:
		return "the jobs " + strings.Join(names, ", ")
	}
}

func (t *tally) allJobs() jobSet {
	if len(t.totals.Jobs) >= jobBits {
		return ^jobSet(0)
	}
	return jobSet(1)<<len(t.totals.Jobs) - 1
}

// receiverSaves and pageSaves say what a fix saves.
func receiverSaves(a Amount) string {
	switch {
	case a.Series == 0:
		return "a label less for each series that has it; no series less"
	case a.Summed > 0:
		return fmt.Sprintf("%s series less, and the aggregates of %s series that are summed already",
			number(a.Series-a.Summed), number(a.Summed))
	}
	return fmt.Sprintf("%s series and %s samples per second less", number(a.Series), decimal(a.SamplesPerSecond))
}

func pageSaves(a Amount) string { return size(a.PageBytes) + " less in each round of scrapes" }

// ruleFix is a rule of metric_relabel_configs. Unless the sidecar can be asked with a filter that is made of it, the
// sidecar prints, and the network carries, what it always did.
func (t *tally) ruleFix(r rule, jobs jobSet, gone Amount) Fix {
	return Fix{
		Title:    "Add to " + t.ofJobs(jobs) + " of the configuration (at the end of metric_relabel_configs)",
		YAML:     r.text(),
		Sidecar:  r.filterSaves(gone),
		Network:  r.filterSaves(gone),
		Receiver: receiverSaves(gone),
	}
}

// filterSaves says what a rule saves before the receiver; empty: nothing, since it makes no filter.
func (r rule) filterSaves(gone Amount) string {
	regex, err := relabel.NewRegexp(r.Regex)
	if err != nil || !slices.Equal(r.SourceLabels, []string{model.MetricNameLabel}) {
		return ""
	}
	filter, _ := pushdown.Build([]*relabel.Config{{SourceLabels: model.LabelNames{model.MetricNameLabel}, Regex: regex,
		Action: relabel.Action(r.Action)}})
	if filter == "" {
		return ""
	}
	return "up to " + pageSaves(gone) + ", if the other rules allow a filter (envoy-scraper check says so) and it " +
		"leaves out at least a quarter of the lines"
}

// familyFixes are the ways to do without a family.
func (t *tally) familyFixes(name string, f *family, gone Amount) []Fix {
	fixes := []Fix{t.ruleFix(rule{[]string{"__name__"}, anyOf(f.names), "drop"}, f.jobs, gone)}
	everywhere := Fix{Sidecar: pageSaves(gone), Network: pageSaves(gone), Receiver: receiverSaves(gone)}
	switch metric := istioMetric(name); {
	case metric != "":
		everywhere.Title = "Or switch it off in the sidecars. " + addOverrides
		everywhere.YAML = telemetry("    - match:\n        metric: " + metric + "\n        mode: CLIENT_AND_SERVER\n" +
			"      disabled: true\n")
		fixes = append(fixes, everywhere)
	case strings.HasPrefix(name, "envoy_"):
		everywhere.Title = "Or switch it off in the sidecars: take the entry that lets it in out of " +
			"proxyStatsMatcher in Istio's meshConfig.defaultConfig, or out of the pods' annotations " +
			"sidecar.istio.io/statsInclusionPrefixes, …Suffixes and …Regexps. The pods must be restarted"
		fixes = append(fixes, everywhere)
	}
	if z := f.row.Zero; z != nil && *z == f.row.Series && strings.HasPrefix(name, "envoy_") {
		everywhere.Title = "Or have Envoy leave out everything that was never used, if it never evicts stats and the " +
			"first increment of a counter may be lost (it also switches off the filter of the rules): add to " +
			t.ofJobs(f.jobs)
		everywhere.YAML = "params:\n  usedonly: ['']\n"
		fixes = append(fixes, everywhere)
	}
	return fixes
}

// labelFixes are the ways to do without a label. A rule that drops a label is offered only where all series stay
// different: the receiver would refuse, or mix up, series with the same labels.
func (t *tally) labelFixes(label string, w WhatIf) []Fix {
	fixes := []Fix{}
	if w.Safe || w.Partial {
		fix := t.ruleFix(rule{Regex: regexp.QuoteMeta(label), Action: "labeldrop"}, t.allJobs(), w.Gone)
		if w.Partial {
			fix.Title = "If the series of the other targets stay different, too: a" + strings.TrimPrefix(fix.Title, "A")
		}
		fixes = append(fixes, fix)
	}
	if slices.Contains(istioTags(), label) {
		fixes = append(fixes, Fix{
			Title: "Have the sidecars add the series up. " + addOverrides,
			YAML: telemetry("    - match:\n        metric: ALL_METRICS\n        mode: CLIENT_AND_SERVER\n" +
				"      tagOverrides:\n        " + label + ":\n          operation: REMOVE\n"),
			Sidecar: pageSaves(w.Gone), Network: pageSaves(w.Gone), Receiver: receiverSaves(w.Gone),
		})
	}
	switch {
	case w.Safe, w.Partial:
	case label == model.BucketLabel:
		fixes = append(fixes, Fix{Title: "Nothing can leave out the bounds of buckets alone: drop the family, or its " +
			"buckets"})
	default:
		fixes = append(fixes, Fix{
			Title: "Have envoy-scraper add the series up over the replicas of a workload (docs/aggregates.md). This " +
				"command says what that saves, and prints the entry to copy",
			YAML: "# envoy-scraper cost --aggregate='NAME.*' --aggregate-without=" +
				strings.Join(append(aggregate.DefaultWithout(), label), ",") + "\n",
			Receiver: "what the command counts",
		})
	}
	return fixes
}

// usedFixes keeps only what is used. The rule names all metrics used, also those that no target shows now.
func (t *tally) usedFixes(u *Usage, gone Amount) []Fix {
	if len(u.Names)+len(u.Patterns) == 0 || gone.Series == 0 {
		return []Fix{}
	}
	regex := anyOf(u.Names)
	for _, p := range u.Patterns {
		if regex != "" {
			regex += "|"
		}
		regex += "(?:" + p + ")"
	}
	fix := t.ruleFix(rule{[]string{"__name__"}, regex, "keep"}, t.allJobs(), gone)
	fix.Title += ". It drops what anything else uses: give all dashboards and rules that matter"
	return []Fix{fix}
}

// delayFix makes requests of several scrapes.
func delayFix(perSecond float64) Fix {
	return Fix{
		Title: "If samples may wait: put several scrapes into a request (docs/operations.md says what that means for " +
			"alerts)",
		YAML: "envoy_scraper:\n  max_delay: 30s\n",
		Receiver: fmt.Sprintf("%s per second are sent now; with several scrapes in a request the labels of a series "+
			"are sent, and read, once for all of them", size(int64(perSecond))),
	}
}

// anyOf returns a regular expression that matches the names and nothing else.
func anyOf(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return strings.Join(quoted, "|")
}

// addOverrides says where the result of telemetry belongs.
const addOverrides = "Add these overrides to the mesh-wide Telemetry (there can be only one; if there is none, this " +
	"is one). Those of further answers belong in the same resource"

func telemetry(overrides string) string {
	return "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata:\n  name: fewer-series\n" +
		"  namespace: istio-system\nspec:\n  metrics:\n  - providers:\n    - name: prometheus\n    overrides:\n" +
		overrides
}

// istioMetric returns how Istio's Telemetry names a metric of its own; "" for others.
func istioMetric(family string) string {
	return map[string]string{
		"istio_requests_total":                "REQUEST_COUNT",
		"istio_request_duration_milliseconds": "REQUEST_DURATION",
		"istio_request_bytes":                 "REQUEST_SIZE",
		"istio_response_bytes":                "RESPONSE_SIZE",
		"istio_tcp_connections_opened_total":  "TCP_OPENED_CONNECTIONS",
		"istio_tcp_connections_closed_total":  "TCP_CLOSED_CONNECTIONS",
		"istio_tcp_sent_bytes_total":          "TCP_SENT_BYTES",
		"istio_tcp_received_bytes_total":      "TCP_RECEIVED_BYTES",
		"istio_request_messages_total":        "GRPC_REQUEST_MESSAGES",
		"istio_response_messages_total":       "GRPC_RESPONSE_MESSAGES",
	}[family]
}

// istioTags are the labels of Istio's own metrics that a Telemetry can remove.
func istioTags() []string {
	return []string{
		"source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
		"source_canonical_service", "source_canonical_revision", "source_cluster",
		"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app",
		"destination_version", "destination_service", "destination_service_name", "destination_service_namespace",
		"destination_canonical_service", "destination_canonical_revision", "destination_cluster",
		"request_protocol", "response_code", "response_flags", "connection_security_policy", "grpc_response_status",
	}
}
