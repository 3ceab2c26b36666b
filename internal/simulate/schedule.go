package simulate

import (
	"fmt"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
)

// scheduledFault is one entry of a schedule: a kind of fault, from a time on, for some time. What it hits follows from
// Draw.
type scheduledFault struct {
	N    int           // index in the schedule, from 0
	At   time.Duration // since the start of the run
	For  time.Duration // 0: it happens at once
	Kind string
	Draw uint64
}

func (f scheduledFault) String() string {
	return fmt.Sprintf("fault %d at %v for %v: %s", f.N, f.At, f.For, f.Kind)
}

// name returns the name under which the fault begins and ends.
func (f scheduledFault) name() string { return fmt.Sprint("fault ", f.N) }

// Episodes of faults alternate with calm times.
const (
	warmUp       = 2 * time.Minute
	episode      = 30 * time.Minute
	calm         = 9 * time.Minute  // Retry-After is obeyed for at most 5 minutes
	longestPause = 85 * time.Second // maximum time between two faults
	longestFault = 6 * time.Minute  // maximum duration
)

// schedule draws the faults of a run. Kinds are drawn by their weights.
func schedule(o options) []scheduledFault {
	random := chance.Seeded(o.Seed).Of("schedule").Rand()
	all := slices.DeleteFunc(kinds(), func(k kind) bool {
		return k.in != nil && !k.in(o) || o.Exact && !k.isExact()
	})
	total := 0
	for _, k := range all {
		total += k.weight
	}
	var faults []scheduledFault
	for from := warmUp; from < o.Duration; from += episode + calm {
		at := from
		for {
			at += time.Duration(random.Int64N(int64(longestPause)))
			if at >= min(from+episode, o.Duration) {
				break
			}
			n := random.IntN(total)
			k := all[0]
			for _, k = range all {
				if n -= k.weight; n < 0 {
					break
				}
			}
			f := scheduledFault{N: len(faults), At: at, Kind: k.name, Draw: random.Uint64()}
			if k.lasts {
				f.For = min(time.Second+time.Duration(random.Int64N(int64(longestFault))), from+episode-at)
			}
			faults = append(faults, f)
		}
	}
	return faults
}
