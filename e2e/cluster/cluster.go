// Package cluster runs a real Kubernetes API for tests: etcd and kube-apiserver on free loopback ports, with RBAC and
// admission. There is no scheduler, no kubelet and no controller. So tests create pods with a node and set their status
// themselves (pod.go), and deleted namespaces stay in the state Terminating.
package cluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// issuer is the issuer of service account tokens.
const issuer = "https://kubernetes.default.svc.cluster.local"

// Config describes where the binaries are and where the cluster may write.
type Config struct {
	Bin string // folder of etcd and kube-apiserver
	Dir string // folder for data, certificates and logs; the caller removes it after Close
}

// Cluster is a running API.
type Cluster struct {
	cfg      Config
	etcdURL  string
	peerURL  string
	port     int
	etcd     *process.Process
	server   *process.Process
	admin    *kubernetes.Clientset
	adminKey string // bearer token of a member of system:masters
}

// Start starts etcd and the API server. It returns when the API server is ready.
func Start(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	ports, err := process.FreePorts(3)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg:      cfg,
		etcdURL:  fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		peerURL:  fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
		port:     ports[2],
		adminKey: rand.Text(),
	}
	if err := c.writeKeys(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.startEtcd(ctx); err != nil {
		return nil, err
	}
	if err := c.StartServer(ctx); err != nil {
		return nil, err
	}
	if c.admin, err = kubernetes.NewForConfig(c.adminConfig()); err != nil {
		return nil, err
	}
	return c, nil
}

// Admin returns a client with all rights. It keeps working when the server is restarted.
func (c *Cluster) Admin() *kubernetes.Clientset { return c.admin }

// URL returns the address of the API server, also while it is stopped.
func (c *Cluster) URL() string { return fmt.Sprintf("https://127.0.0.1:%d", c.port) }

// CAFile returns the path of the certificate that clients must trust.
func (c *Cluster) CAFile() string { return filepath.Join(c.cfg.Dir, "certs", "apiserver.crt") }

// ServerLog returns the log of the API server so far.
func (c *Cluster) ServerLog() string { return c.server.Log() }

// KillServer kills the API server, as a crash would, and waits for its end. etcd keeps running.
func (c *Cluster) KillServer() { c.server.Kill() }

// Close kills both servers. They need no graceful stop, because their data is not used again.
func (c *Cluster) Close() {
	for _, p := range []*process.Process{c.server, c.etcd} {
		if p != nil {
			p.Kill()
		}
	}
}

func (c *Cluster) startEtcd(ctx context.Context) (err error) {
	c.etcd, err = process.Start(process.Spec{
		Name:    "etcd",
		Path:    filepath.Join(c.cfg.Bin, "etcd"),
		LogFile: filepath.Join(c.cfg.Dir, "etcd.log"),
		Args: []string{
			"--name=e2e",
			"--data-dir=" + filepath.Join(c.cfg.Dir, "etcd"),
			"--listen-client-urls=" + c.etcdURL, "--advertise-client-urls=" + c.etcdURL,
			"--listen-peer-urls=" + c.peerURL, "--initial-advertise-peer-urls=" + c.peerURL,
			"--initial-cluster=e2e=" + c.peerURL,
			"--unsafe-no-fsync=true",
			"--log-level=warn",
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return c.etcd.WaitReady(ctx, func(ctx context.Context) error {
		return get(ctx, http.DefaultClient, c.etcdURL+"/health")
	})
}

// StartServer starts the API server with the same port, certificate and data as before. It returns when the server is
// ready.
func (c *Cluster) StartServer(ctx context.Context) (err error) {
	file := func(name string) string { return filepath.Join(c.cfg.Dir, name) }
	c.server, err = process.Start(process.Spec{
		Name:    "kube-apiserver",
		Path:    filepath.Join(c.cfg.Bin, "kube-apiserver"),
		LogFile: file("kube-apiserver.log"),
		Args: []string{
			"--etcd-servers=" + c.etcdURL,
			"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", c.port),
			"--cert-dir=" + file("certs"),
			"--token-auth-file=" + file("tokens.csv"),
			"--authorization-mode=RBAC",
			// Without this flag pods could not be created, because no controller makes the default service accounts.
			"--disable-admission-plugins=ServiceAccount",
			"--service-account-issuer=" + issuer,
			"--service-account-key-file=" + file("sa.pub"),
			"--service-account-signing-key-file=" + file("sa.key"),
			"--service-cluster-ip-range=10.0.0.0/24",
			"--endpoint-reconciler-type=none",
			"--allow-privileged=true",
			"--enable-priority-and-fairness=false",
			"--max-requests-inflight=0", "--max-mutating-requests-inflight=0",
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return c.server.WaitReady(ctx, c.ready)
}

// ready returns nil when the API server reports that it is ready. Its certificate file appears during the start.
func (c *Cluster) ready(ctx context.Context) error {
	if _, err := os.Stat(c.CAFile()); err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.adminConfig())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return get(ctx, client, c.URL()+"/readyz")
}

func (c *Cluster) adminConfig() *rest.Config {
	return &rest.Config{
		Host:            c.URL(),
		BearerToken:     c.adminKey,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile()},
		QPS:             200,
		Burst:           200,
	}
}

// writeKeys writes the files that the API server reads at its start: the admin's token and the key pair that signs
// service account tokens.
func (c *Cluster) writeKeys() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	write := func(name string, content []byte) error {
		return os.WriteFile(filepath.Join(c.cfg.Dir, name), content, 0o600)
	}
	return errors.Join(
		write("sa.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY",
			Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		write("sa.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		write("tokens.csv", []byte(c.adminKey+",admin,admin,system:masters\n")),
	)
}

// get returns nil if the answer is 200.
func get(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return nil
}
