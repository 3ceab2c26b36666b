package parts

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// Addresses claims a range of loopback addresses until the test ends.
func Addresses(t testing.TB) *oracle.AddressRange {
	t.Helper()
	addresses, err := oracle.NewAddressRange()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(addresses.Close)
	return addresses
}

// Fleet starts targets as oracle.NewFleet does. They stop when the test ends.
func Fleet(t testing.TB, at *oracle.AddressRange, first, targets, series int) *oracle.Fleet {
	t.Helper()
	fleet, err := oracle.NewFleet(at, first, targets, series)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fleet.Close(); err != nil {
			t.Errorf("targets: %v", err)
		}
	})
	return fleet
}

// Recorder starts a receiver as oracle.NewReceiver does, at the host-th address of the range. It stops when the test
// ends.
func Recorder(t testing.TB, at *oracle.AddressRange, host int) *oracle.Receiver {
	t.Helper()
	recorder, err := oracle.NewReceiver(at, host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = recorder.Close() })
	return recorder
}
