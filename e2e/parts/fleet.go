package parts

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// Fleet starts targets as oracle.NewFleet does, in a range of addresses of their own. They stop when the test ends.
func Fleet(t testing.TB, first, targets, series int) (fleet *oracle.Fleet, addresses *oracle.AddressRange) {
	t.Helper()
	addresses, err := oracle.NewAddressRange()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(addresses.Close)
	fleet, err = oracle.NewFleet(addresses, first, targets, series)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fleet.Close(); err != nil {
			t.Errorf("targets: %v", err)
		}
	})
	return fleet, addresses
}
