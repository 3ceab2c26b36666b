package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
)

const (
	resultDeadline = 90 * time.Second // for envoy-scraper to deliver something of every sidecar
	query          = `sum by (source_workload, destination_workload, ` +
		`response_code) (istio_requests_total{reporter="source"})`
)

// querier is what answers: a receiver.
type querier interface {
	Query(ctx context.Context, expr string) (model.Vector, error)
}

// everyPod counts Istio's series by pod. The database's sidecar has no requests, only TCP.
const everyPod = `count by (namespace, pod_name) ({__name__=~"istio_requests_total|istio_tcp_sent_bytes_total"})`

// awaitPods waits until every pod's Istio metrics are in Prometheus, or gone is closed.
func awaitPods(ctx context.Context, q querier, sidecars []mesh.Sidecar, gone <-chan struct{},
	detail func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, resultDeadline)
	defer cancel()
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		missing, err := missingPods(ctx, q, sidecars)
		if err == nil && len(missing) == 0 {
			return nil
		}
		detail(fmt.Sprintf("%d of %d sidecars", len(sidecars)-len(missing), len(sidecars)))
		select {
		case <-ticker.C:
		case <-gone:
			return errors.New("envoy-scraper ended")
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("no Istio metrics of %s", strings.Join(missing, ", "))
			}
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// missingPods names the pods of which Prometheus has no Istio metrics.
func missingPods(ctx context.Context, q querier, sidecars []mesh.Sidecar) ([]string, error) {
	answer, err := q.Query(ctx, everyPod)
	var missing []string
	for _, s := range sidecars {
		if !slices.ContainsFunc(answer, func(v *model.Sample) bool {
			return string(v.Metric["namespace"]) == s.Namespace && string(v.Metric["pod_name"]) == s.Pod
		}) {
			missing = append(missing, s.Pod)
		}
	}
	return missing, err
}

// printResult prints who calls whom, how often, and a few of the series behind it.
func printResult(ctx context.Context, w io.Writer, q querier) error {
	sums, err := q.Query(ctx, query)
	if err != nil {
		return err
	}
	if len(sums) == 0 {
		return fmt.Errorf("no answer from Prometheus to %s", query)
	}
	fmt.Fprintf(w, "\n%s\n\n", query)
	printTable(w, sums, "source_workload", "destination_workload", "response_code")

	const of = `istio_requests_total{reporter="destination", response_code="200"}`
	series, err := q.Query(ctx, of)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s, with the labels that the scraper added\n\n", of)
	printTable(w, series, "job", "instance", "namespace", "pod_name", "source_workload")
	if len(series) > 0 {
		fmt.Fprintf(w, "\nOne of them as it is stored:\n\n%s %s\n", series[0].Metric, number(series[0].Value))
	}
	return nil
}

func printTable(w io.Writer, rows model.Vector, columns ...model.LabelName) {
	slices.SortFunc(rows, func(a, b *model.Sample) int {
		for _, c := range columns {
			if order := strings.Compare(string(a.Metric[c]), string(b.Metric[c])); order != 0 {
				return order
			}
		}
		return 0
	})
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "  ")
	for _, c := range columns {
		fmt.Fprintf(table, "%s\t", c)
	}
	fmt.Fprintln(table, "value")
	for _, r := range rows {
		fmt.Fprint(table, "  ")
		for _, c := range columns {
			fmt.Fprintf(table, "%s\t", r.Metric[c])
		}
		fmt.Fprintln(table, number(r.Value))
	}
	table.Flush()
}

func number(v model.SampleValue) string { return strconv.FormatFloat(float64(v), 'f', -1, 64) }
