package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// outputText is the output format of why and cost that is not JSON.
const outputText = "text"

// whyCommand says of pods whether their Envoy is scraped, and if not, why.
type whyCommand struct {
	config    *configFlags
	via       *viaFlags
	name      string
	namespace string
	url       string
	output    string
	timeout   time.Duration

	allowLoopback bool
}

func newWhyCommand(app *kingpin.Application) command {
	c := &whyCommand{}
	clause := app.Command("why", "Say whether the Envoy of a pod is scraped, and if not, why. Without POD, list all "+
		"pods, worst first. Exits 0 if scraped, 1 if not.")
	clause.Arg("pod", "A pod, such as cart-0 or shop/cart-0; a workload, such as deploy/reviews; or a namespace, such "+
		"as ns/shop.").StringVar(&c.name)
	clause.Flag("namespace", "Look only at pods of this namespace.").Short('n').PlaceHolder("NAMESPACE").
		StringVar(&c.namespace)
	clause.Flag("url", "Ask the envoy-scraper whose pages are at this URL, such as http://127.0.0.1:9095. A user name "+
		"and password belong in the URL. Without it, discover once and scrape once from here.").
		PlaceHolder("URL").StringVar(&c.url)
	c.config = addConfigFlags(clause)
	c.config.addContext(clause)
	c.via = addViaFlags(clause, via.Auto)
	clause.Flag("scrape.allow-loopback", "Allow targets with loopback addresses from discoveries other than static "+
		"lists and files. Without --url.").BoolVar(&c.allowLoopback)
	clause.Flag("output", "Output format: text or json.").Default(outputText).EnumVar(&c.output, outputText, outputJSON)
	clause.Flag("timeout", "Timeout of the request to --url, or of the discovery and the scrapes.").
		Default("30s").DurationVar(&c.timeout)
	return command{clause: clause, run: c.run}
}

// podSource answers queries about pods: a running process, or this one.
type podSource interface {
	// pods returns all pods. Those that are called name, if it is not empty, have been scraped.
	pods(ctx context.Context, name, namespace string) (show.Answer, error)
	// pod returns one pod with its evidence.
	pod(ctx context.Context, fullName string) (show.Answer, error)
}

func (c *whyCommand) run(ctx context.Context, stdout, stderr io.Writer) int {
	fail := func(code int, err error) int {
		fmt.Fprintf(stderr, "envoy-scraper why: %s\n", printable(config.RedactURLs(err.Error())))
		return code
	}
	if err := c.check(); err != nil {
		return fail(exitUsage, err)
	}
	remove, err := c.config.useContext()
	if err != nil {
		return fail(exitRefused, err)
	}
	defer remove()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	source, err := c.source(ctx, stderr)
	if err != nil {
		return fail(exitRefused, err)
	}
	answer, err := c.ask(ctx, source)
	if err != nil {
		return fail(exitRefused, err)
	}
	write := c.writeText
	if c.output == outputJSON {
		write = func(w io.Writer, a *show.Answer) error { return printJSON(w, a) }
	}
	if err := write(stdout, &answer); err != nil {
		return fail(exitRefused, err)
	}
	return exitCode(&answer)
}

// check checks arguments that depend on each other.
func (c *whyCommand) check() error {
	switch {
	case c.timeout <= 0:
		return fmt.Errorf("--timeout: %v: give more than 0s, such as 30s", c.timeout)
	case c.url != "" && c.config.file != "":
		return fmt.Errorf("--url asks a running process, which has its own configuration: leave out --config.file")
	}
	return c.via.values()
}

func (c *whyCommand) source(ctx context.Context, stderr io.Writer) (podSource, error) {
	if c.url != "" {
		return newRunningProcess(c.url)
	}
	look, err := discoverOnce(ctx, c.config.options(), c.allowLoopback)
	if err != nil {
		return nil, err
	}
	look.opts.Via = c.via.forOnce(ctx, look.cfg, look.groups(), c.allowLoopback, stderr)
	return look, nil
}

// ask returns the pods that the command line names. A single pod has its evidence.
func (c *whyCommand) ask(ctx context.Context, source podSource) (show.Answer, error) {
	all, err := source.pods(ctx, c.name, c.namespace)
	if err != nil {
		return all, err
	}
	found := show.Find(all.Pods, c.name, c.namespace)
	switch {
	case len(found) == 0 && (c.name != "" || c.namespace != ""):
		if full := show.FullName(c.name, c.namespace); full != "" {
			return source.pod(ctx, full) // asks the API server, which may know a pod that no job looks at
		}
		return all, c.unknown(&all)
	case len(found) == 1 && c.name != "" && !show.IsGroup(c.name):
		return source.pod(ctx, found[0].FullName())
	}
	if c.name != "" || c.namespace != "" { // these are about all pods
		all.Causes, all.Funnels = []show.Cause{}, []show.Funnel{}
	}
	all.Pods, all.Total = found, len(found)
	return all, nil
}

// unknown returns the error for a name that no pod has. It suggests other names.
func (c *whyCommand) unknown(all *show.Answer) error {
	where := ""
	if c.namespace != "" {
		where = " in namespace " + c.namespace
	}
	if c.name == "" {
		return fmt.Errorf("no pod%s has an Envoy or should have one%s", where, knownNamespaces(all))
	}
	text := fmt.Sprintf("no pod %s%s has an Envoy or should have one", c.name, where)
	if strings.Contains(c.name, "/") && show.IsGroup(c.name) {
		text = fmt.Sprintf("no pod of %s%s has an Envoy or should have one", c.name, where)
	}
	if names := show.Nearest(all.Pods, c.name); len(names) > 0 {
		return fmt.Errorf("%s; the nearest names: %s", text, strings.Join(names, ", "))
	}
	if len(all.Pods) == 0 {
		return errors.New(text + ", nor has any other")
	}
	return fmt.Errorf("%s; envoy-scraper why lists the %d pods that have", text, len(all.Pods))
}

// knownNamespaces names the namespaces of all pods, at most ten.
func knownNamespaces(all *show.Answer) string {
	var names []string
	for i := range all.Pods {
		if n := all.Pods[i].Namespace; !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return ", nor has any other"
	case len(names) > 10:
		names = append(names[:10], "…")
	}
	return "; namespaces with such pods: " + strings.Join(names, ", ")
}

// writeText writes one pod with its evidence, or a table.
func (c *whyCommand) writeText(w io.Writer, a *show.Answer) error {
	if a.Evidence != nil {
		return show.WritePod(w, &a.Pods[0], a.Evidence, a.At)
	}
	return show.WriteTable(w, a, a.At)
}

// exitCode returns 0 if the pod is scraped. Of several pods, it is 0 if all those are scraped that this instance should
// scrape: pods that have finished and those of other instances do not count.
func exitCode(a *show.Answer) int {
	for i := range a.Pods {
		v := a.Pods[i].Verdict
		if v != diagnose.Scraped && (a.Evidence != nil || !show.IsOthers(v)) {
			return exitRefused
		}
	}
	return exitOK
}
