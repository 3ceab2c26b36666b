package scrape

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestRealPagesUnderTheReferenceJob reads real pages, for two pods of the job that Alibaba Cloud ASM documents, each
// without rules and under two others, and compares every scrape with the reference.
func TestRealPagesUnderTheReferenceJob(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/data/envoy/*.txt")
	if len(files) == 0 {
		t.Skip("SKIPPED: no real pages beside the checkout (../shared/data/envoy)")
	}
	jobs := newFuzzJobs(t)
	for i, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			page, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, rules := range []int{0, 1 + i, 1 + len(files) + i} {
				p := newPair(t, jobs, uint32(rules)<<24, uint32(rules)<<24)
				if bytes.HasSuffix(bytes.TrimSpace(page), []byte("# EOF")) {
					p.mimeType = "application/openmetrics-text; version=1.0.0"
				}
				for i, pod := range []string{"productpage-v1-7d6c", "reviews-v1-5f8b"} {
					l := p.loops[i]
					referenced := &target{labels: labels.FromStrings("instance", pod+":15090", "job", "envoy-stats",
						"namespace", "default", "pod_name", pod)}
					p.loops[i], p.refs[i] = newLoop(p.env, l.job, referenced), newReference(referenced.labels,
						l.job.cfg)
					l.release()
				}
				changed := bytes.ReplaceAll(page, []byte("} 1"), []byte("} 2"))
				for _, text := range [][]byte{page, page, changed, page[:len(page)/2], page} {
					good := p.scrape(0, text)
					p.scrape(1, text)
					if rules == 0 && len(text) == len(page) && !good {
						t.Error("the reference refuses the page: its samples are not compared")
					}
				}
				p.end()
			}
		})
	}
}
