package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func TestLabelsForPeopleAreBounded(t *testing.T) {
	table := series.NewTable()
	target := labels.FromStrings("instance", "pod-1", "job", "envoy", "text", strings.Repeat("ä", 1<<20))
	id := table.AddTarget(target)
	lb := labels.NewBuilder(target)
	lb.Set("__name__", "metric_1")
	for i := range 1000 {
		lb.Set(fmt.Sprintf("label_%03d", i), strings.Repeat("v", 100))
	}
	var b series.Batch
	b.Reset(id, 1)
	b.Add(table.Add(id, lb.Labels(), series.Meta{}), 1)
	c, err := Parse(messagesOf(t, table, []*series.Batch{&b})[0])
	if err != nil {
		t.Fatal(err)
	}
	ls := c.Labels(0)
	if n := len(ls.String()); n > 2*maxSeriesBytes || ls.Get("__name__") != "metric_1" || ls.Get("job") != "envoy" ||
		ls.Get("instance") != "pod-1" {
		t.Errorf("a series of %d bytes: %.200s", n, ls)
	}
}
