package faultlist_test

import (
	"slices"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/faultlist"
)

func TestFaultsInTheOrderOfTheirBegin(t *testing.T) {
	var l faultlist.List[int]
	check := func(last int, all ...int) {
		t.Helper()
		if got := slices.Collect(l.All()); !slices.Equal(got, all) || l.Last() != last {
			t.Errorf("faults %v, the last one %d; want %v, %d", got, l.Last(), all, last)
		}
	}
	check(0)
	l.Begin("a", 1)
	l.Begin("b", 2)
	check(2, 1, 2)
	l.Begin("a", 3) // replaces
	check(3, 2, 3)
	copied := l.Clone()
	l.End("a")
	l.End("c") // there is none
	check(2, 2)
	if got := slices.Collect(copied.All()); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("the copy has %v", got)
	}
}
