package simulate

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

// secured is the name of the receiver that speaks HTTPS and asks agents for certificates.
const secured = "b"

// certificates are the files with which agents and the receiver b trust each other, and what b shows. All keys are
// Ed25519: their signatures have one length, so that the same seed sends the same number of bytes.
type certificates struct {
	dir     string
	host    *network.Host // of the receiver
	random  *rand.Rand
	made    int64 // certificates so far
	root    authority
	clients authority

	mu    sync.Mutex // guards the following
	shown tls.Certificate
	wrong string // what is wrong with shown; empty: nothing
}

// authority signs certificates.
type authority struct {
	key  ed25519.PrivateKey
	cert *x509.Certificate
}

func newCertificates(o options) (*certificates, error) {
	c := &certificates{dir: o.Dir, random: chance.Seeded(o.Seed).Of("certificates").Rand()}
	c.clients = c.newAuthority()
	return c, c.renew()
}

// Paths of the files of agents.
func (c *certificates) rootFile() string { return filepath.Join(c.dir, "ca.pem") }
func (c *certificates) certFile() string { return filepath.Join(c.dir, "client.pem") }
func (c *certificates) keyFile() string  { return filepath.Join(c.dir, "client-key.pem") }

// renew makes another authority and other certificates of the receiver and of agents, and writes the files of agents.
func (c *certificates) renew() error {
	c.root = c.newAuthority()
	c.showGood()
	client := c.sign(c.clients, certificate{})
	key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	if err != nil {
		return err
	}
	for path, block := range map[string]*pem.Block{
		c.rootFile(): {Type: "CERTIFICATE", Bytes: c.root.cert.Raw},
		c.certFile(): {Type: "CERTIFICATE", Bytes: client.Certificate[0]},
		c.keyFile():  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// certificate is what is special about a certificate. The zero value is a good one.
type certificate struct {
	expired bool
	address string // empty: the address of the receiver
}

// showBad lets the receiver show a certificate that agents must refuse. It returns what is wrong with it.
func (c *certificates) showBad(chance *rand.Rand) (wrong string) {
	var cert tls.Certificate
	switch chance.IntN(3) {
	case 0:
		cert, wrong = c.sign(c.root, certificate{expired: true}), "has expired"
	case 1:
		cert, wrong = c.sign(c.root, certificate{address: "10.9.9.9"}), "is for another address"
	default:
		cert, wrong = c.sign(c.newAuthority(), certificate{}), "is of an unknown authority"
	}
	c.show(cert, wrong)
	return wrong
}

// showGood ends showBad.
func (c *certificates) showGood() { c.show(c.sign(c.root, certificate{}), "") }

func (c *certificates) show(cert tls.Certificate, wrong string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown, c.wrong = cert, wrong
}

// listen adds TLS to a listener at the host of the receiver. problem is called if an agent accepts a bad certificate:
// an agent sends its own certificate only after it has verified the one of the receiver. HTTP/2 is not offered: its
// connections wait for locks while they write.
func (c *certificates) listen(l net.Listener, host *network.Host, problem func(string, ...any)) net.Listener {
	c.host = host
	pool := x509.NewCertPool()
	pool.AddCert(c.clients.cert)
	return tls.NewListener(l, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		shown, wrong := c.shown, c.wrong
		return &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{shown},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
			VerifyConnection: func(tls.ConnectionState) error {
				if wrong != "" {
					problem("%v accepts a certificate that %s", hello.Conn.RemoteAddr(), wrong)
				}
				return nil
			},
		}, nil
	}})
}

func (c *certificates) newKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(c.random.Uint32())
	}
	return ed25519.NewKeyFromSeed(seed)
}

func (c *certificates) template() *x509.Certificate {
	c.made++
	return &x509.Certificate{
		SerialNumber: big.NewInt(1<<40 + c.made), Subject: pkix.Name{CommonName: "simulation"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
}

func (c *certificates) newAuthority() authority {
	key, t := c.newKey(), c.template()
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(nil, t, t, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		panic(err)
	}
	return authority{key, cert}
}

// sign makes a certificate for the receiver or an agent.
func (c *certificates) sign(by authority, of certificate) tls.Certificate {
	key, t := c.newKey(), c.template()
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if of.expired {
		t.NotAfter = time.Now().Add(-time.Minute)
	}
	if of.address == "" {
		of.address = receiverAddress(secured)
	}
	t.IPAddresses = []net.IP{net.ParseIP(of.address)}
	raw, err := x509.CreateCertificate(nil, t, by.cert, key.Public(), by.key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// certificateKinds are faults of certificates. Nothing may be lost through them.
func certificateKinds() []kind {
	return []kind{
		{name: "certificate: all are renewed", weight: 2,
			begin: func(w *world, _ scheduledFault, _ *rand.Rand) func() {
				if err := w.certificates.renew(); err != nil {
					w.problem("renew certificates: %v", err)
				}
				w.cutSecured()
				return nil
			}},
		{name: "certificate: a bad one", weight: 2, lasts: true,
			begin: func(w *world, _ scheduledFault, chance *rand.Rand) func() {
				w.trace.add("certificate %s", w.certificates.showBad(chance))
				w.cutSecured()
				return w.certificates.showGood
			}},
	}
}

// cutSecured cuts the connections to the receiver that shows certificates, so that agents see the new one.
func (w *world) cutSecured() {
	r := w.receivers[secured]
	r.Doubt(1)
	w.certificates.host.Cut()
	r.Doubt(-1)
}
