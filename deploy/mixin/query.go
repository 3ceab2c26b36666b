package main

import (
	"fmt"
	"strings"
)

func by(labels string) string {
	if labels == "" {
		return ""
	}
	return " by (" + labels + ") "
}

// sum returns the sum of selector by labels.
func sum(labels, selector string) string { return "sum" + by(labels) + "(" + selector + ")" }

// rate returns the increase per second of the counters of selector, by labels.
func rate(labels, selector string) string {
	return sum(labels, "rate("+selector+"[$__rate_interval])")
}

// quantiles returns the median, 90 % and 99 % of a classic histogram, by labels. unit converts the histogram's unit to
// the panel's: 0.001 for milliseconds in a panel of seconds.
func quantiles(labels, buckets string, unit float64) []query {
	var queries []query
	for _, q := range []struct{ phi, name string }{{"0.5", "p50"}, {"0.9", "p90"}, {"0.99", "p99"}} {
		expr := fmt.Sprintf("histogram_quantile(%s, %s)", q.phi, rate(strings.TrimPrefix(labels+", le", ", "), buckets))
		if unit != 1 {
			expr += fmt.Sprintf(" * %g", unit)
		}
		queries = append(queries, query{expr, strings.TrimSpace(legend(labels) + " " + q.name)})
	}
	return queries
}

// legend returns the template that shows the values of labels: "{{a}} {{b}}" for "a, b".
func legend(labels string) string {
	if labels == "" {
		return ""
	}
	return "{{" + strings.ReplaceAll(labels, ", ", "}} {{") + "}}"
}

// success returns the share of requests without a 5xx response, by labels.
func success(labels, matchers string) string {
	good := rate(labels, "istio_requests_total{"+matchers+`,response_code!~"5.."}`)
	return good + " / " + rate(labels, "istio_requests_total{"+matchers+"}")
}
