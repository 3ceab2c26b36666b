package exposition

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// BenchmarkHostilePages reads the text of an attacker as the first page of a target and, for comparison, with
// Prometheus' parser alone.
func BenchmarkHostilePages(b *testing.B) {
	for name, line := range map[string]func(int) string{
		"newlines":           same("\n"),
		"blank lines":        same(" \n"),
		"one comment":        same("#\n"),
		"different comments": numbered("#%d\n"),
		"HELP":               numbered("# HELP a%d b\n"),
		"one series":         same("a 1\n"),
		"short series":       numbered("a%d 1\n"),
		"long series": numbered(`envoy_cluster_upstream_rq_total{` +
			`cluster_name="outbound|%d||a.b.svc.cluster.local",response_code="200"} 1` + "\n"),
		"dropped series": numbered("drop%d 1\n"),
	} {
		page, err := io.ReadAll(&endless{left: 4 * mb, line: line})
		if err != nil {
			b.Fatal(err)
		}
		page = page[:bytes.LastIndexByte(page, '\n')+1]
		b.Run(name+"/page", func(b *testing.B) {
			b.SetBytes(int64(len(page)))
			l := newLearner()
			for b.Loop() {
				p := NewPage(l.layouts, l, Options{SampleLimit: 500_000})
				var batch series.Batch
				if _, err := p.Read(bytes.NewReader(page), plain, math.MaxInt64, &batch); err != nil {
					p.Abandon()
				} else {
					p.Commit(Shown{}).Release()
				}
				p.Forget()
			}
		})
		b.Run(name+"/textparse", func(b *testing.B) {
			b.SetBytes(int64(len(page)))
			for b.Loop() {
				parser := textparse.NewPromParser(page, labels.NewSymbolTable(), false)
				for err := error(nil); !errors.Is(err, io.EOF); {
					var entry textparse.Entry
					if entry, err = parser.Next(); err != nil && !errors.Is(err, io.EOF) {
						b.Fatal(err)
					}
					if entry == textparse.EntrySeries && err == nil {
						var l labels.Labels
						parser.Labels(&l)
					}
				}
			}
		})
	}
}
