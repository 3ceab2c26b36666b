package web

import (
	"math"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/history"
)

func TestSpark(t *testing.T) {
	gap := math.NaN()
	for name, tc := range map[string]struct {
		values []float64
		want   spark
	}{
		"nothing yet": {nil, spark{Last: "–"}},
		"not known":   {[]float64{gap, gap}, spark{Last: "–"}},
		"zero": {[]float64{0, 0}, spark{Last: "0", Min: "0", Max: "0", Known: true,
			Line: "M238 38.0L239 38.0", Area: "M238 40L238 38.0L239 38.0L239 40Z"}},
		"a gap": {[]float64{10, gap, 5, 2.5}, spark{Last: "2.5", Min: "2.5", Max: "10", Known: true,
			Line: "M236 2.0h.1M238 20.0L239 29.0",
			Area: "M236 40L236 2.0L236 40ZM238 40L238 20.0L239 29.0L239 40Z"}},
		"not known now": {[]float64{1, gap}, spark{Last: "–", Min: "1.0", Max: "1.0", Known: true,
			Line: "M238 2.0h.1", Area: "M238 40L238 2.0L238 40Z"}},
	} {
		tc.want.Name = "Samples per second"
		if got := newSpark(history.Line{Quantity: history.Samples, Values: tc.values}); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

// TestEveryQuantityHasAForm: a new one needs a name and a unit.
func TestEveryQuantityHasAForm(t *testing.T) {
	for _, l := range history.New(nil).Lines() {
		if sparkForms[l.Quantity].format == nil {
			t.Errorf("quantity %d has no form", l.Quantity)
		}
	}
}
