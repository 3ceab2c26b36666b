package receiver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"
)

// Query evaluates an instant query.
func (r *Receiver) Query(ctx context.Context, expr string) (model.Vector, error) {
	value, err := r.query(ctx, expr)
	if err != nil {
		return nil, err
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("query %s: got a %s, want a vector", expr, value.Type())
	}
	return vector, nil
}

// Samples returns the stored samples of a range selector, such as `up[10m]`, without staleness markers.
func (r *Receiver) Samples(ctx context.Context, selector string) (model.Matrix, error) {
	value, err := r.query(ctx, selector)
	if err != nil {
		return nil, err
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("query %s: got a %s, want a matrix", selector, value.Type())
	}
	return matrix, nil
}

func (r *Receiver) query(ctx context.Context, expr string) (model.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	value, _, _, err := r.api.Query(ctx, expr, time.Now())
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	return value, nil
}

// Writes returns the number of answered remote write requests, by status code.
func (r *Receiver) Writes(ctx context.Context) (map[string]int, error) {
	family, err := r.ownMetric(ctx, "prometheus_http_requests_total")
	if err != nil {
		return nil, err
	}
	writes := map[string]int{}
	for _, m := range family.GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["handler"] == "/api/v1/write" && m.GetCounter().GetValue() > 0 {
			writes[labels["code"]] += int(m.GetCounter().GetValue())
		}
	}
	return writes, nil
}

// Metric returns the sum of the values of one of Prometheus' own metrics. A metric that does not exist is an error.
func (r *Receiver) Metric(ctx context.Context, name string) (sum float64, err error) {
	family, err := r.ownMetric(ctx, name)
	if err == nil && family == nil {
		err = fmt.Errorf("no metric %s", name)
	}
	for _, m := range family.GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum, err
}

// ownMetric returns a family of Prometheus' own metrics.
func (r *Receiver) ownMetric(ctx context.Context, name string) (*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(page)))
	if err != nil {
		return nil, err
	}
	return families[name], nil
}
