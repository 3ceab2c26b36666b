package agent

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// part is something that runs as long as the agent, such as discovery, the scrapes or the server of the pages.
type part struct {
	name string
	run  func(ctx context.Context) error // blocks until ctx ends, which is not an error

	// outlives names a part. If set, the ctx of run ends when that part has ended, instead of with the agent.
	// Aggregates outlive the scrapes, so that they also sum the last scrapes; remote write outlives the aggregates, so
	// that it also delivers the last sums.
	outlives string
}

// runParts runs all parts until ctx ends, or until a part fails. It returns the first error, after every part has
// ended.
func runParts(ctx context.Context, parts []part) error {
	g, ctx := errgroup.WithContext(ctx)
	contexts := make([]context.Context, len(parts))
	atEndOf := map[string][]context.CancelFunc{}
	for i, p := range parts {
		contexts[i] = ctx
		if p.outlives != "" {
			later, cancel := context.WithCancel(context.WithoutCancel(ctx))
			defer cancel()
			contexts[i] = later
			atEndOf[p.outlives] = append(atEndOf[p.outlives], cancel)
		}
	}
	for i, p := range parts {
		g.Go(func() error {
			defer func() {
				for _, cancel := range atEndOf[p.name] {
					cancel()
				}
			}()
			return p.run(contexts[i])
		})
	}
	return g.Wait()
}
