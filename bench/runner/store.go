package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// wholeBed is a bed whose receiver is a store.
type wholeBed struct {
	*bed
	config WholeConfig
	way    Way
	store  child   // how the store is run, each time
	folder string  // the store's
	before float64 // samples that the store had stored before it was started again
	// meanwhile is called once per second in a window, with the time since the window began; nil: nothing happens.
	meanwhile func(context.Context, time.Duration) error
}

// newWholeBed starts a fleet, a store with an empty database and the agent, if the way has one. The caller calls stop,
// whatever happens.
func newWholeBed(ctx context.Context, c WholeConfig, w Way) (b *wholeBed, err error) {
	k := c.caseOf(w)
	b = &wholeBed{config: c, way: w}
	if b.bed, err = newFleetBed(ctx, c.Config, c.Fleet, filepath.Join(c.Out, k.dir())); err != nil {
		return b, err
	}
	targets := c.Fleet.TargetList()
	ofStore := targets
	if w.Agent != nil {
		ofStore = nil
	}
	s, err := b.prepare("store", ofStore)
	if err != nil {
		return b, err
	}
	command, err := c.Store.Prepare(s)
	if err != nil {
		return b, err
	}
	b.synthetic = c.Store.Synthetic
	b.folder, b.receiverURL = s.Dir, "http://"+s.Web
	b.store = child{name: c.Store.Name, log: filepath.Join(b.dir, "receiver.log"), dir: s.Dir,
		program: c.program(Case{Agent: c.Store}), args: command.Args, env: command.Env}
	if err := b.startStore(ctx); err != nil || w.Agent == nil {
		return b, err
	}
	return b, b.startAgent(k, targets)
}

// startStore starts the store, where it was before if it ran already, and waits until it is ready.
func (b *wholeBed) startStore(ctx context.Context) (err error) {
	if b.receiver, err = start(b.store); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if _, err := fetch(ctx, http.MethodGet, b.receiverURL+"/-/ready"); err == nil {
			return nil
		}
		if err := b.rest(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%s is not ready: %w", b.store.name, err)
		}
	}
}

// stopStore ends the store and keeps its database.
func (b *wholeBed) stopStore() error {
	p := b.receiver
	b.receiver = nil
	_, err := p.stop()
	return err
}

// stop ends the processes that still run, and removes the database.
func (b *wholeBed) stop() error {
	if b.bed == nil {
		return nil
	}
	err := b.bed.stop()
	if b.folder != "" {
		err = errors.Join(err, removeFolders(b.folder))
	}
	return err
}

// account lets everything that was served arrive, stops the agent, and returns how many page samples were served and
// how many of them are stored. That is exact. A store that scrapes by itself stores a page once it has read it.
func (b *wholeBed) account(ctx context.Context) (a Stored, err error) {
	if err := call(ctx, http.MethodPost, b.fleetURL+"/drain", nil); err != nil {
		return a, err
	}
	arrivalTimeout := min(8*time.Second, 10*b.config.Interval) // less than a usual scrape timeout
	for deadline := time.Now().Add(b.way.delay(b.config.Interval) + arrivalTimeout); ; {
		s, err := b.snapshot(ctx)
		if err != nil {
			return a, err
		}
		if a.Served = s.served.Samples; b.backlog(s) <= 0 || time.Now().After(deadline) {
			break
		}
		if err := b.rest(ctx, 100*time.Millisecond); err != nil {
			return a, err
		}
	}
	if b.agent != nil {
		stopped, err := b.stopAgent()
		a.StopSeconds = stopped.Seconds()
		if err != nil {
			a.Remark = "stopping: " + err.Error()
		}
	}
	a.Stored, err = b.storedSamples(ctx)
	return a, err
}

// backlog is the number of samples that were served and are not stored, those in synthetic series included.
func (b *wholeBed) backlog(s wholeSnapshot) float64 {
	return float64(s.served.Scrapes)*float64(b.fleetConfig.Series+b.synthetic) - b.before - s.stored
}

// Stored compares what the fleet served in the whole run with what the store has of it.
type Stored struct {
	Served      uint64  `json:"samples_served"`
	Stored      uint64  `json:"samples_stored"` // page samples, as the store's own query counts them
	StopSeconds float64 `json:"stop_seconds"`   // of the agent
	Remark      string  `json:"remark,omitempty"`
}

// Lost is the number of served samples that are not stored.
func (s Stored) Lost() int64 { return int64(s.Served) - int64(s.Stored) }

// storedSamples asks the store how many page samples it has: all but synthetic ones. It asks for one name after the
// other, since count_over_time drops the name, and series of two names may have the same labels. Staleness markers are
// not counted.
func (b *wholeBed) storedSamples(ctx context.Context) (sum uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var names struct{ Data []string }
	if err := call(ctx, http.MethodGet, b.receiverURL+"/api/v1/label/__name__/values", &names); err != nil {
		return 0, fmt.Errorf("list the stored names: %w", err)
	}
	for _, name := range names.Data {
		if name == "up" || strings.HasPrefix(name, "scrape_") {
			continue
		}
		query := fmt.Sprintf(`sum(count_over_time({__name__=%q}[1d]))`, name)
		body, err := fetch(ctx, http.MethodGet, b.receiverURL+"/api/v1/query?query="+url.QueryEscape(query))
		if err != nil {
			return 0, fmt.Errorf("count the stored samples: %w", err)
		}
		n, err := parseCount(body)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// parseCount reads the only value of the answer to an instant query, as
// {"data":{"result":[{"value":[1764417600.1,"24000000"]}]}}.
func parseCount(body []byte) (uint64, error) {
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("count the stored samples: %w", err)
	}
	if len(answer.Data.Result) == 0 {
		return 0, nil // nothing is stored
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("count the stored samples: %w", err)
	}
	return uint64(n), nil
}
