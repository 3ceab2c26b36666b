package remotewrite

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
)

// storage holds the queues of all endpoints: in a store, or in memory only. In a store a queue outlives its endpoint:
// after a restart it is found by its identity. A queue to which no endpoint belongs is an orphan.
type storage struct {
	store *queue.Store // nil: memory only
	log   *zap.Logger

	orphans, orphanBytes prometheus.Gauge
}

// orphanCheck is how often the store is searched for orphans that are too old.
const orphanCheck = time.Hour

func newStorage(store *queue.Store, log *zap.Logger, reg prometheus.Registerer) *storage {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "envoy_scraper_queue_" + name, Help: help})
	}
	return &storage{
		store: store, log: log,
		orphans:     gauge("orphans", "Queues in the storage directory that belong to no remote_write entry."),
		orphanBytes: gauge("orphan_bytes", "Bytes of samples in these queues. They are kept until they are too old."),
	}
}

// open opens the queue of an endpoint.
func (s *storage) open(identity string, lanes int, cfg queue.Config) (queue.Queue, error) {
	if s.store == nil {
		return queue.NewMemory(cfg, lanes), nil
	}
	return s.store.Open(identity, lanes, cfg)
}

// rename gives an open queue another identity.
func (s *storage) rename(from, to string) error {
	if s.store == nil {
		return nil
	}
	return s.store.Rename(from, to)
}

// names returns the identities of all queues in the store. Queues in memory have no names.
func (s *storage) names() []string {
	if s.store == nil {
		return nil
	}
	// An error is ignored: Rename refuses the name of a queue that is open or has a backlog.
	names, _ := s.store.Names()
	return names
}

// adopt gives the backlogs of endpoints whose name or URL has changed since the last process to their successors, if
// there is no doubt. An endpoint that has a name now gets the queue of the unnamed endpoint with its URL. If exactly
// one unnamed queue has lost its endpoint, and exactly one unnamed endpoint is new, the new endpoint gets that queue.
func (s *storage) adopt(endpoints []EndpointConfig, wanted []string) error {
	if s.store == nil {
		return nil
	}
	if err := s.adoptNamed(endpoints, wanted); err != nil {
		return err
	}
	there, err := s.store.Names()
	if err != nil {
		return err
	}
	unnamed := func(a, b []string) (only []string) {
		for _, id := range a {
			if strings.HasPrefix(id, unnamedPrefix) && !slices.Contains(b, id) {
				only = append(only, id)
			}
		}
		return only
	}
	gone, fresh := unnamed(there, wanted), unnamed(wanted, there)
	if len(gone) != 1 || len(fresh) != 1 {
		return nil
	}
	if err := s.store.Rename(gone[0], fresh[0]); err != nil {
		return err
	}
	s.log.Info("remote write endpoint takes over the queue of the endpoint whose URL was removed",
		zap.String("from", gone[0]), zap.String("to", fresh[0]))
	return nil
}

// adoptNamed gives entries that have a name now the queues of unnamed entries with their URL, in the order of the
// entries. If their numbers differ, the entries may belong to several tenants, and no queue is given away.
func (s *storage) adoptNamed(endpoints []EndpointConfig, wanted []string) error {
	there, err := s.store.Names()
	if err != nil {
		return err
	}
	takers := map[string][]string{} // by identity without a name
	for i, ec := range endpoints {
		if !slices.Contains(there, wanted[i]) {
			takers[ec.unnamedIdentity()] = append(takers[ec.unnamedIdentity()], wanted[i])
		}
	}
	for unnamed, takers := range takers {
		var left []string
		for _, name := range there {
			if isNumbered(name, unnamed) {
				left = append(left, name)
			}
		}
		both := func(name string) bool { return slices.Contains(wanted, name) }
		if len(left) != len(takers) || slices.ContainsFunc(left, both) {
			continue
		}
		for i, from := range left {
			if err := s.store.Rename(from, takers[i]); err != nil {
				return err
			}
			s.log.Info("remote write endpoint has a name now and takes over the queue of its URL",
				zap.String("from", from), zap.String("to", takers[i]))
		}
	}
	return nil
}

// isNumbered reports whether name is the identity, or the identity with a number.
func isNumbered(name, identity string) bool {
	rest, ok := strings.CutPrefix(name, identity)
	if number, more := strings.CutPrefix(rest, "-"); ok && more {
		_, err := strconv.Atoi(number)
		return err == nil
	}
	return ok && rest == ""
}

// sweep removes orphans that are too old, and counts their samples as lost. It reports the other orphans: in metrics,
// and in the log if loud. It returns the labels under which it has counted.
func (s *storage) sweep(maxAge time.Duration, wanted []string, m *metrics, loud bool) (counted []string, err error) {
	if s.store == nil {
		return nil, nil
	}
	dropped, err := s.store.DropOrphans(maxAge, wanted...)
	for _, id := range dropped {
		if id.Samples > 0 {
			m.dropped.WithLabelValues(id.Name, string(deliver.TooOld)).Add(float64(id.Samples))
			counted = append(counted, id.Name)
			s.log.Error("dropped samples of a queue without remote_write entry that were older than max_age",
				zap.String("queue", id.Name), zap.Int("samples", id.Samples))
		}
	}
	if err != nil {
		return counted, err
	}
	all, err := s.store.Identities(wanted...)
	if err != nil {
		return counted, err
	}
	var bytes int64
	for _, id := range all {
		bytes += id.Bytes
		if loud {
			s.log.Warn("queue without remote_write entry: give it to an entry with envoy-scraper queue rename, "+
				"or remove it with envoy-scraper queue drop; it is removed when it is older than max_age",
				zap.String("queue", id.Name), zap.Int("samples", id.Samples), zap.Int64("bytes", id.Bytes),
				zap.Time("newest", id.Newest), zap.Duration("max_age", maxAge), zap.NamedError("problem", id.Problem))
		}
	}
	s.orphans.Set(float64(len(all)))
	s.orphanBytes.Set(float64(bytes))
	return counted, nil
}
