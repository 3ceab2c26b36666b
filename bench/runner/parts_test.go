package runner

import (
	"strings"
	"testing"
)

const tracesOfProfile = `File: envoy-scraper
Type: cpu
Duration: 30s, Total samples = 60ms (0.2%)
-----------+-------------------------------------------------------
      20ms   internal/runtime/syscall/linux.Syscall6
             syscall.Syscall
             os.(*File).Write
             github.com/envoy-scraper/envoy-scraper/internal/queue.(*FIFO).writeLoop
-----------+-------------------------------------------------------
      10ms   runtime.memmove
             github.com/envoy-scraper/envoy-scraper/internal/exposition.(*Page).Read
             github.com/envoy-scraper/envoy-scraper/internal/scrape.(*loop).scrape
-----------+-------------------------------------------------------
      30ms   example.org/other.Function
`

func TestPartsTable(t *testing.T) {
	got, err := partsTable(tracesOfProfile)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"60ms by part", "part share, % of it in system calls", restOfProfile + " 50.0 0.0",
		"queue: writes and the rest 33.3 33.3", "reading pages 16.7 0.0"}
	for line := range strings.Lines(got) {
		if line = strings.Join(strings.Fields(line), " "); len(want) == 0 || line != want[0] {
			t.Fatalf("line %q, want %q in\n%s", line, want, got)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Errorf("%q is missing in\n%s", want, got)
	}
	if _, err := partsTable("File: x\n"); err == nil {
		t.Error("no error for a profile without stacks")
	}
}
