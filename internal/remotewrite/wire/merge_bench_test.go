//go:build unix

package wire

import (
	"fmt"
	"math"
	"testing"
)

// BenchmarkMerge merges groups of scrapes and makes the bodies of the result. "unmerged" makes a body of each scrape.
// The metrics without a name are those of Merge alone.
func BenchmarkMerge(b *testing.B) {
	for _, shape := range []struct {
		name                   string
		targets, scrapes, size int
		most                   Limits
	}{
		{"1x1x2000", 1, 1, 2000, Limits{}},
		{"1x3x2000", 1, 3, 2000, Limits{}},
		{"1x3x2000 in thirds", 1, 3, 2000, Limits{Samples: 2000}},
		{"10x3x200", 10, 3, 200, Limits{}},
		{"10x3x200 in thirds", 10, 3, 200, Limits{Samples: 2000}},
		{"10x1x200", 10, 1, 200, Limits{}},
	} {
		var group []Message
		samples := 0
		for _, of := range scrapesOf(b, shape.targets, shape.scrapes, shape.size) {
			group = append(group, of...)
		}
		for _, m := range group {
			samples += m.Samples
		}
		b.Run(shape.name, func(b *testing.B) {
			var pool Pool
			b.ReportAllocs()
			report := cpuPerSample(b, samples)
			for b.Loop() {
				merged, err := pool.Merge(group, shape.most)
				if err != nil {
					b.Fatal(err)
				}
				pool.ReleaseMerged(merged)
			}
			report()
			merged, _ := pool.Merge(group, shape.most)
			for name, ms := range map[string][]Message{"unmerged": group, "merged": merged} {
				for _, p := range []Protocol{V2, V1} {
					bytes := 0
					for _, m := range ms {
						body, _, err := pool.Body(m, p, true)
						if err != nil {
							b.Fatal(err)
						}
						bytes += len(body)
					}
					b.ReportMetric(float64(bytes)/float64(samples), name+"-"+p.String()+"-B/sample")
				}
			}
		})
		for name, merge := range map[string]bool{"unmerged": false, "merged": true} {
			for _, p := range []Protocol{V2, V1} {
				b.Run(shape.name+" bodies "+name+" "+p.String(), func(b *testing.B) {
					var pool Pool
					ms := group
					if merge {
						ms, _ = pool.Merge(group, shape.most)
					}
					report := cpuPerSample(b, samples)
					for b.Loop() {
						for _, m := range ms {
							body, _, err := pool.Body(m, p, true)
							if err != nil {
								b.Fatal(err)
							}
							pool.Release(body)
						}
					}
					report()
				})
			}
		}
	}
}

// BenchmarkMergeColumns merges groups of columns ("columns") and of the same scrapes as plain messages ("plain").
func BenchmarkMergeColumns(b *testing.B) {
	for _, shape := range []struct {
		name                   string
		targets, scrapes, size int
		first                  int // the first scrape of a target that is a column
		most                   Limits
	}{
		{"1x1x2000", 1, 1, 2000, 0, Limits{}},
		{"1x3x2000", 1, 3, 2000, 0, Limits{}},
		{"1x8x2000", 1, 8, 2000, 0, Limits{}},
		{"1x8x2000 in parts of 6000", 1, 8, 2000, 0, Limits{Samples: 6000}},
		{"4x3x500", 4, 3, 500, 0, Limits{}},
		{"1x3x2000 after a plain one", 1, 4, 2000, 1, Limits{}},
		{"10x1x200", 10, 1, 200, 0, Limits{}},
		{"50x1x200", 50, 1, 200, 0, Limits{}},
		{"5x1x2000", 5, 1, 2000, 0, Limits{}},
	} {
		columns, plain := columnsOf(b, shape.targets, shape.scrapes, shape.size)
		var groups [2][]Message
		samples := 0
		for i, of := range columns {
			groups[0] = append(append(groups[0], plain[i][:shape.first]...), of[shape.first:]...)
			groups[1] = append(groups[1], plain[i]...)
		}
		for _, m := range groups[0] {
			samples += m.Samples
		}
		for i, name := range []string{"columns", "plain"} {
			b.Run(shape.name+" "+name, func(b *testing.B) {
				var pool Pool
				b.ReportAllocs()
				report := cpuPerSample(b, samples)
				for b.Loop() {
					merged, err := pool.Merge(groups[i], shape.most)
					if err != nil {
						b.Fatal(err)
					}
					pool.ReleaseMerged(merged)
				}
				report()
				merged, _ := pool.Merge(groups[i], shape.most)
				for _, p := range []Protocol{V2, V1} {
					bytes := 0
					for _, m := range merged {
						body, _, err := pool.Body(m, p, true)
						if err != nil {
							b.Fatal(err)
						}
						bytes += len(body)
					}
					b.ReportMetric(float64(bytes)/float64(samples), p.String()+"-B/sample")
				}
			})
		}
	}
}

// BenchmarkMergeAsV1 merges columns and makes 1.0 bodies: "general" of the 2.0 messages, "rows" at once.
func BenchmarkMergeAsV1(b *testing.B) {
	for _, shape := range [][3]int{{1, 1, 2000}, {5, 1, 2000}, {1, 3, 2000}, {50, 1, 200}} {
		columns, _ := columnsOf(b, shape[0], shape[1], shape[2])
		var group []Message
		samples := 0
		for _, of := range columns {
			group = append(group, of...)
		}
		for _, m := range group {
			samples += m.Samples
		}
		for name, most := range map[string]Limits{"general": {}, "rows": {BytesV1: math.MaxInt}} {
			b.Run(fmt.Sprint(shape, " ", name), func(b *testing.B) {
				var pool Pool
				size := 0
				b.ReportAllocs()
				report := cpuPerSample(b, samples)
				for b.Loop() {
					merged, err := pool.Merge(group, most)
					if err != nil {
						b.Fatal(err)
					}
					size = 0
					for _, m := range merged {
						body, _, err := pool.Body(m, V1, true)
						if err != nil {
							b.Fatal(err)
						}
						size += len(body)
						pool.Release(body)
					}
					pool.ReleaseMerged(merged)
				}
				report()
				b.ReportMetric(float64(size)/float64(samples), "B/sample")
			})
		}
	}
}
