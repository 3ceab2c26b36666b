package simulate

import (
	"fmt"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
)

// Fault is one entry of a schedule: a kind of fault, from a time on, for some time. What it hits follows from Draw.
type Fault struct {
	N    int // in the schedule
	At   time.Duration
	For  time.Duration // 0: it happens at once
	Kind string
	Draw uint64
}

func (f Fault) String() string {
	return fmt.Sprintf("fault %d at %v for %v: %s", f.N, f.At, f.For, f.Kind)
}

// name returns the name under which the fault begins and ends.
func (f Fault) name() string { return fmt.Sprint("fault ", f.N) }

// Episodes of faults alternate with calm times.
const (
	warmUp      = 2 * time.Minute
	episode     = 30 * time.Minute
	calm        = 9 * time.Minute   // Retry-After is obeyed for at most 5 minutes
	longestLull = 100 * time.Second // between two faults
	longest     = 6 * time.Minute   // fault
)

// schedule draws the faults of a run. Kinds are drawn by their weights.
func schedule(o Options) []Fault {
	random := chance.Seeded(o.Seed).Of("schedule").Rand()
	all := kinds()
	total := 0
	for _, k := range all {
		total += k.weight
	}
	var faults []Fault
	for from := warmUp; from < o.Duration; from += episode + calm {
		at := from
		for {
			at += time.Duration(random.Int64N(int64(longestLull)))
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
			f := Fault{N: len(faults), At: at, Kind: k.name, Draw: random.Uint64()}
			if k.lasts {
				f.For = min(time.Second+time.Duration(random.Int64N(int64(longest))), from+episode-at)
			}
			faults = append(faults, f)
		}
	}
	return faults
}
