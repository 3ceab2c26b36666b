package differential

import (
	"slices"
	"strings"
)

// explain returns why a difference is deliberate, or "" if it is not. Each reason is a row of docs/differences.md.
func explain(name string, d difference) string {
	metric := func(of string) bool { return strings.Contains(d.series, `__name__="`+of+`"`) }
	switch {
	case len(d.theirs) > 1 && len(d.ours) == 1 && d.theirs[0] == d.ours[0] && !strings.HasPrefix(d.ours[0], "exemplar"):
		return "a page has a series twice in two spellings: envoy-scraper keeps the first, the agent sends both"
	case name == "le and quantile" && (metric("h") || metric("h_bucket") || metric("scrape_series_added")) &&
		d.at >= "007":
		return "le and quantile are formatted by the current TYPE; Prometheus keeps the first format"
	case metric("scrape_sample_limit") && slices.Equal(d.theirs, []string{"0"}) &&
		slices.Equal(d.ours, []string{"500000"}):
		return "sample_limit has a default"
	case slices.Contains([]string{"content types", "fallback", "fallback openmetrics"}, name) &&
		metric("scrape_series_added"):
		return "when a target changes its format, all its series count as added"
	}
	return ""
}

// explainMetadata returns why only one agent sends some remote write 1.0 metadata, or "".
func explainMetadata(text string, name agentName) string {
	family, rest, _ := strings.Cut(text, " ")
	switch {
	case name == ours && (family == "up" || strings.HasPrefix(family, "scrape_")):
		return "metadata of report series is sent too"
	case name == ours && (strings.HasSuffix(family, "_total") || strings.HasSuffix(family, "_info")),
		name == theirs && (strings.HasPrefix(rest, "COUNTER") || strings.HasPrefix(rest, "INFO")):
		return "metadata of OpenMetrics families has the names of the series"
	case name == theirs && rest == `UNKNOWN "" ""`:
		return "no metadata is sent for a family without TYPE and HELP"
	}
	return ""
}
