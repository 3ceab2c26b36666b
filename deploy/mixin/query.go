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

// sum adds up selector for each of labels.
func sum(labels, selector string) string { return "sum" + by(labels) + "(" + selector + ")" }

// rate is what the counters of selector gain in a second, for each of labels.
func rate(labels, selector string) string {
	return sum(labels, "rate("+selector+"[$__rate_interval])")
}

// quantiles are the median, 90 % and 99 % of a classic histogram, for each of labels. unit is how many of the
// panel's units one of the histogram's is.
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

// legend shows the values of labels.
func legend(labels string) string {
	if labels == "" {
		return ""
	}
	return "{{" + strings.ReplaceAll(labels, ", ", "}} {{") + "}}"
}

// success is the share of requests that were not answered with a 5xx.
func success(labels, matchers string) string {
	good := rate(labels, "istio_requests_total{"+matchers+`,response_code!~"5.."}`)
	return good + " / " + rate(labels, "istio_requests_total{"+matchers+"}")
}
