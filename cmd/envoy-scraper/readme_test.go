package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// elsewhere are the commands of README that another test runs: the file that does it.
var elsewhere = map[string]string{
	"make demo ONCE=1": "../../e2e/demo/readme.go", // compares what the demo prints with README
	"make build":       "../../.ci/run",
	"helm install":     "../../e2e/chart/readme_test.go",
	"prometheus --web.enable-remote-write-receiver": "../../e2e/receiver/receiver.go",
}

// block is a fenced part of a document: ```console, or ```yaml with the name of a file.
type block struct {
	language, file string
	text           string
}

func blocks(document string) []block {
	var all []block
	for _, m := range regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$").FindAllStringSubmatch(document, -1) {
		language, file, _ := strings.Cut(m[1], " ")
		all = append(all, block{language: language, file: file, text: m[2]})
	}
	return all
}

// typed is one command of a console block, with the output that the document shows below it.
type typed struct {
	text    string // as it is shown, with its `$ ` and the lines that a backslash adds
	command string
	output  string
}

// cutConsole splits a console block: `$ ` begins a command, which a backslash at a line's end continues.
func cutConsole(text string) []typed {
	var all []typed
	continued := false
	for line := range strings.Lines(text) {
		switch {
		case continued || strings.HasPrefix(line, "$ "):
			if !continued {
				all = append(all, typed{})
			}
			c := &all[len(all)-1]
			c.text += line
			continued = strings.HasSuffix(line, "\\\n")
			words := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(line, "$ "), "\\\n"))
			c.command = strings.TrimSpace(c.command + " " + strings.Join(words, " "))
		case len(all) > 0:
			all[len(all)-1].output += line
		}
	}
	return all
}

// TestREADME runs each command of README, from top to bottom, in one folder that holds the files README shows, beside
// the API server of a small cluster. What README shows as output is what the command prints; GOLDEN=1 rewrites it.
func TestREADME(t *testing.T) {
	readme := read(t, readmeFile)
	fresh := readme
	file, err := filepath.Abs(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range elsewhere {
		read(t, file)
	}
	t.Chdir(t.TempDir())
	home, api := t.TempDir(), httptest.NewServer(http.HandlerFunc(smallCluster))
	defer api.Close()
	kubeconfig := filepath.Join(home, ".kube/config")
	if err := os.Mkdir(filepath.Dir(kubeconfig), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kubeconfig, fmt.Appendf(nil, kubeconfigText, api.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	run, others := 0, 0
	for _, b := range blocks(readme) {
		switch {
		case b.language == "yaml" && b.file != "":
			if err := os.WriteFile(b.file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
		case b.language == "console":
			for _, c := range cutConsole(b.text) {
				command := strings.ReplaceAll(c.command, "~", home)
				if args, ours := strings.CutPrefix(command, "bin/envoy-scraper "); ours {
					run++
					shown := checkTyped(t, c, strings.Fields(args))
					fresh = strings.Replace(fresh, c.text+c.output, c.text+shown, 1)
				} else if others++; !knownElsewhere(c.command) {
					t.Errorf("README: no test runs %q", c.command)
				}
			}
		default:
			t.Errorf("README: a block ```%s is neither a console nor a file with a name:\n%s", b.language, b.text)
		}
	}
	if run < 3 || others < len(elsewhere) {
		t.Errorf("README: %d commands of ours and %d others, want at least 3 and %d", run, others, len(elsewhere))
	}
	golden(t, file, readme, fresh)
}

const readmeFile = "../../README.md"

// golden rewrites a file where GOLDEN is set.
func golden(t *testing.T, file, text, fresh string) {
	t.Helper()
	if os.Getenv("GOLDEN") != "" && text != fresh {
		if err := os.WriteFile(file, []byte(fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestREADMECommands: the table of commands says the same as the help texts; GOLDEN=1 rewrites it.
func TestREADMECommands(t *testing.T) {
	app := theApp()
	newQueueCommands(app)
	readme := read(t, readmeFile)
	fresh := readme
	for _, c := range app.Model().Commands {
		if c.Name == "help" {
			continue
		}
		row := regexp.MustCompile("(?m)^(\\| `envoy-scraper \\[?" + c.Name + "\\b[^`]*` \\| )(.*)( \\|)$")
		m := row.FindStringSubmatch(readme)
		switch {
		case m == nil:
			t.Errorf("README: the table of commands has no row for %s", c.Name)
		case m[2] != c.Help && os.Getenv("GOLDEN") == "":
			t.Errorf("README says of %s: %s\nwant its help text: %s", c.Name, m[2], c.Help)
		default:
			fresh = strings.Replace(fresh, m[0], m[1]+c.Help+m[3], 1)
		}
	}
	golden(t, readmeFile, readme, fresh)
}

func knownElsewhere(command string) bool {
	for begin := range elsewhere {
		if strings.HasPrefix(command, begin) {
			return true
		}
	}
	return false
}

// checkTyped runs one command and returns its output, as README should show it. The main command, which has no end, is
// stopped as soon as it is ready. Each command has a process of its own, as a user's has: client-go has one log for the
// whole process, which a second command must not set while the goroutines of the first may read it.
func checkTyped(t *testing.T, c typed, args []string) string {
	t.Helper()
	if strings.HasPrefix(args[0], "--") {
		runUntilReady(t, args)
		return c.output
	}
	cmd := exec.CommandContext(t.Context(), "envoy-scraper", args...)
	text, err := cmd.CombinedOutput()
	if args[0] == "why" && cmd.ProcessState.ExitCode() == 1 {
		err = nil // the pod is not scraped
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", c.command, err, text)
	}
	printed := took.ReplaceAllString(string(text), "Took           12ms")
	if os.Getenv("GOLDEN") == "" && strings.TrimSpace(printed) != strings.TrimSpace(c.output) {
		t.Errorf("%s prints\n%s\nREADME shows\n%s", c.command, printed, c.output)
	}
	return printed
}

// took is the line of scrape that differs from run to run.
var took = regexp.MustCompile(`(?m)^Took  .*$`)

// runUntilReady runs the main command on a free port, and stops it with SIGTERM.
func runUntilReady(t *testing.T, args []string) {
	t.Helper()
	var stderr log
	args = append(args, "--web.listen-address=127.0.0.1:0", "--storage.remote.flush-deadline=1s")
	cmd := exec.CommandContext(t.Context(), "envoy-scraper", args...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "the address in the log", func() bool { return served.MatchString(stderr.String()) })
	ready := "http://" + served.FindStringSubmatch(stderr.String())[1] + "/-/ready"
	eventually(t, ready, func() bool {
		resp, err := http.Get(ready)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("did not stop")
	}
}

const kubeconfigText = `apiVersion: v1
kind: Config
clusters: [{name: small, cluster: {server: %q}}]
users: [{name: you, user: {}}]
contexts: [{name: small, context: {cluster: small, user: you}}]
current-context: small
`

// smallCluster is an API server that knows four pods: one with a sidecar, one with a native sidecar, one whose port has
// another name than the rule wants, and one without a sidecar.
func smallCluster(w http.ResponseWriter, r *http.Request) {
	const pod = "/api/v1/namespaces/bookinfo/pods/reviews-v1-mm6jd"
	const cart = "/api/v1/namespaces/shop/pods/cart-0"
	switch r.URL.Path {
	case pod, cart:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, map[string]string{pod: smallClusterPod, cart: smallClusterCart}[r.URL.Path])
	case pod + ":15090/proxy/stats/prometheus":
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		fmt.Fprint(w, "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n# TYPE istio_requests_total counter\n"+
			"istio_requests_total{reporter=\"source\",response_code=\"200\"} 7\n")
	default:
		answerAPI(w, r, func() { _, _ = w.Write([]byte(smallClusterPods)) })
	}
}

const smallClusterPod = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"reviews-v1-mm6jd","namespace":"bookinfo"},
"spec":{"containers":[{"name":"istio-proxy","ports":[{"name":"http-envoy-prom","containerPort":15090}]}]},
"status":{"phase":"Running","podIP":"10.0.0.7","podIPs":[{"ip":"10.0.0.7"}]}}`

const smallClusterCart = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"cart-0","namespace":"shop","uid":"4"},
"spec":{"nodeName":"node-1","containers":[
 {"name":"istio-proxy","ports":[{"name":"envoy-prom","containerPort":15090}]}]},
"status":{"phase":"Running","podIP":"10.0.0.10","podIPs":[{"ip":"10.0.0.10"}]}}`

const smallClusterPods = `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[
{"metadata":{"name":"reviews-v1-mm6jd","namespace":"bookinfo","uid":"1"},"spec":{"nodeName":"node-1","containers":[
 {"name":"reviews","ports":[{"name":"http","containerPort":9080}]},
 {"name":"istio-proxy","ports":[{"name":"http-envoy-prom","containerPort":15090}]}]},
 "status":{"phase":"Running","podIP":"10.0.0.7","podIPs":[{"ip":"10.0.0.7"}]}},
{"metadata":{"name":"ratings-v1-t2gln","namespace":"bookinfo","uid":"2"},"spec":{"nodeName":"node-1","initContainers":[
 {"name":"istio-proxy","restartPolicy":"Always","ports":[{"name":"http-envoy-prom","containerPort":15090}]}],
 "containers":[
 {"name":"ratings"}]},
 "status":{"phase":"Running","podIP":"10.0.0.8","podIPs":[{"ip":"10.0.0.8"}]}},
{"metadata":{"name":"cart-0","namespace":"shop","uid":"4"},"spec":{"nodeName":"node-1","containers":[
 {"name":"istio-proxy","ports":[{"name":"envoy-prom","containerPort":15090}]}]},
 "status":{"phase":"Running","podIP":"10.0.0.10","podIPs":[{"ip":"10.0.0.10"}]}},
{"metadata":{"name":"postgres-0","namespace":"shop","uid":"3"},"spec":{"nodeName":"node-1","containers":[
 {"name":"postgres","ports":[{"name":"sql","containerPort":5432}]}]},
 "status":{"phase":"Running","podIP":"10.0.0.9","podIPs":[{"ip":"10.0.0.9"}]}}]}`
