package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
)

// queueCommand lists, renames and deletes queues in a storage directory, even while another process uses the directory.
type queueCommand struct {
	storagePath string
	queue       string
	entry       string
}

func newQueueCommands(app *kingpin.Application) []command {
	c := &queueCommand{}
	parent := app.Command("queue", "List, rename or delete the queues of undelivered samples in --storage.path, for "+
		"example those of a removed remote_write entry.")
	list := parent.Command("list", "List the queues: how many samples each holds, and whether a running envoy-scraper "+
		"uses it.")
	rename := parent.Command("rename", "Assign a queue that is not in use, with its samples, to a remote_write entry.")
	rename.Arg("queue", "Name of the queue, as printed by envoy-scraper queue list.").Required().StringVar(&c.queue)
	rename.Arg("entry", "Name of the remote_write entry, or its URL if it has no name.").Required().StringVar(&c.entry)
	drop := parent.Command("drop", "Delete a queue that is not in use, with its samples.")
	drop.Arg("queue", "Name of the queue, as printed by envoy-scraper queue list.").Required().StringVar(&c.queue)
	for _, cmd := range []*kingpin.CmdClause{list, rename, drop} {
		cmd.Flag("storage.path", "Storage directory of envoy-scraper run. The process may be running.").
			Default("./data").PlaceHolder("./data").StringVar(&c.storagePath)
	}
	return []command{{list, c.running(c.list)}, {rename, c.running(c.rename)}, {drop, c.running(c.drop)}}
}

// running returns the function of a command: it opens the storage directory, calls do, and prints the error.
func (c *queueCommand) running(do func(*queue.Store, io.Writer) error) func(context.Context, io.Writer, io.Writer) int {
	return func(_ context.Context, stdout, stderr io.Writer) int {
		store, err := queue.Visit(c.storagePath, queue.OS())
		if err != nil {
			err = fmt.Errorf("--storage.path: %s: %w (give the --storage.path of envoy-scraper run)",
				c.storagePath, err)
		} else {
			err = do(store, stdout)
		}
		var inUse *queue.InUseError
		if errors.As(err, &inUse) {
			err = fmt.Errorf("%w: stop the envoy-scraper that uses it, then try again", err)
		}
		if err != nil {
			fmt.Fprintf(stderr, "envoy-scraper queue: %v\n", err)
			return exitRefused
		}
		return exitOK
	}
}

func (c *queueCommand) list(store *queue.Store, stdout io.Writer) error {
	all, err := store.Identities()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		_, err := fmt.Fprintf(stdout, "No queues in %s.\n", c.storagePath)
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "QUEUE\tIN USE\tSAMPLES\tBYTES\tNEWEST")
	for _, id := range all {
		if id.Open { // its content changes all the time; the metrics of the process that uses it show it
			fmt.Fprintf(w, "%s\tyes\t-\t-\t-\n", id.Name)
			continue
		}
		newest := ""
		if !id.Newest.IsZero() {
			newest = id.Newest.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\tno\t%d\t%d\t%s\n", id.Name, id.Samples, id.Bytes, cmp.Or(newest, "-"))
	}
	return w.Flush()
}

func (c *queueCommand) rename(store *queue.Store, stdout io.Writer) error {
	to, err := remotewrite.QueueOf(c.entry)
	if err != nil {
		return err
	}
	if err := store.Rename(c.queue, to); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "Queue %s is now %s. The remote_write entry %s gets its samples when envoy-scraper "+
		"starts with that entry.\n", c.queue, to, c.entry)
	return err
}

func (c *queueCommand) drop(store *queue.Store, stdout io.Writer) error {
	id, err := store.Drop(c.queue)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "Dropped queue %s: %d samples, %d bytes.\n", id.Name, id.Samples, id.Bytes)
	return err
}
