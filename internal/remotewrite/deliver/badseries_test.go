package deliver

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

func TestBadSeriesAreBounded(t *testing.T) {
	var all []labels.Labels
	for i := range 3 * maxBadSeries {
		all = append(all, labels.FromStrings("__name__", fmt.Sprint("metric_", i)))
	}
	m := messageWith(t, all)
	c, err := wire.Parse(m)
	if err != nil {
		t.Fatal(err)
	}
	var o badSeries
	o.add(&c, false)
	parts, err := o.divide(m)
	if err != nil || len(parts) != 2 || parts[0].Samples != 2*maxBadSeries || parts[1].Samples != maxBadSeries {
		t.Fatalf("parts = %d, %v", len(parts), err)
	}
	if parts[0].group != unsuspected || parts[1].group != suspected {
		t.Errorf("groups = %d, %d", parts[0].group, parts[1].group)
	}
	o.arrived(m)
	if len(o.known) != 0 {
		t.Errorf("known = %d, want none after all arrived", len(o.known))
	}
}
