package scrape

import (
	"fmt"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

func TestGrowthLimitFollowsBodySizeLimit(t *testing.T) {
	for bodySizeLimit, want := range map[int]int{0: 0, 1 << 20: 128 << 20, 64 << 20: 128 << 20, 1 << 30: 2 << 30} {
		if got := growthLimit(bodySizeLimit); got != want {
			t.Errorf("body_size_limit %d: %d, want %d", bodySizeLimit, got, want)
		}
	}
	if got := reasonOf(fmt.Errorf("page: %w", exposition.ErrGrowthLimit)); got != "growth_limit" {
		t.Errorf("reason %q, want growth_limit", got)
	}
}
