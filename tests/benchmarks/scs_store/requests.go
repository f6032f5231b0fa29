// Parsing, strictness and signature of requests.

package main

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

var operations = map[string]string{
	"GET key ": "get", "HEAD key ": "head", "PUT key ": "put", "DELETE key ": "delete",
	"PUT key newObjectName": "rename", "POST key uploads": "begin", "PUT key partNumber,uploadId": "part",
	"GET key uploadId": "parts", "POST key uploadId": "complete", "DELETE key uploadId": "abort",
	"POST bucket delete": "deleteMany", "GET bucket location": "location",
}

func (s *store) understand(r *http.Request) (*request, error) {
	path, rawQuery, _ := strings.Cut(r.RequestURI, "?")
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, refuse(400, "InvalidURI", err.Error())
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, refuse(400, "InvalidURI", err.Error())
	}
	bucket, key, slash := strings.Cut(strings.TrimPrefix(plain, "/"), "/")
	asked := &request{r, path, bucket, key, "", query}
	if asked.operation = operationOf(asked); asked.operation == "" {
		return nil, refuse(400, "InvalidArgument", r.Method+" "+r.RequestURI+" is no operation of SCS")
	}
	switch {
	case escaped(plain) != path:
		return nil, refuse(400, "InvalidURI", "the path is not escaped as SCS signs it")
	case !slash:
		return nil, refuse(400, "InvalidURI", "the slash behind the bucket is missing")
	case bucket != strings.ToLower(bucket):
		return nil, refuse(400, "InvalidBucketName", "bucket names are lower case")
	}
	if err := checkHeaders(asked); err != nil {
		return nil, err
	}
	if err := s.verify(asked); err != nil {
		return nil, err
	}
	if bucket != s.bucket {
		return nil, refuse(404, "NoSuchBucket", "The specified bucket does not exist.")
	}
	return asked, nil
}

func operationOf(r *request) string {
	var names []string
	for name := range r.query {
		if name != "Expires" && name != "SOHUCSAccessKeyId" && name != "Signature" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	if r.Method == "GET" && r.key == "" {
		if isSubset(names, "prefix", "delimiter", "marker", "max-keys") {
			return "list"
		}
		if slices.Contains(names, "uploads") &&
			isSubset(names, "uploads", "prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads") {
			return "uploads"
		}
	}
	place := " key "
	if r.key == "" {
		place = " bucket "
	}
	operation := operations[r.Method+place+strings.Join(names, ",")]
	if operation == "put" && r.Header.Get("x-scs-copy-source") != "" {
		return "copy"
	}
	return operation
}

func isSubset(names []string, known ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(known, name) })
}

func checkHeaders(r *request) error {
	for name := range r.Header {
		name = strings.ToLower(name)
		isForeign := strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "amz-") || name == "expect"
		isUnknown := strings.HasPrefix(name, "x-scs-") && name != "x-scs-copy-source" && name != "x-scs-date"
		if isForeign || isUnknown {
			return refuse(400, "InvalidArgument", "SCS knows no "+name)
		}
	}
	if len(r.TransferEncoding) > 0 || len(r.Trailer) > 0 || r.Header.Get("Content-Encoding") != "" {
		return refuse(400, "InvalidArgument", "SCS knows no other encodings of bodies")
	}
	if (r.Method == "PUT" || r.Method == "POST") && r.Header.Get("Content-Length") == "" {
		return refuse(411, "MissingContentLength", "")
	}
	if (r.operation == "put" || r.operation == "begin") && r.Header.Get("Content-Type") != contentType {
		return refuse(400, "InvalidArgument", "registry objects are "+contentType)
	}
	return nil
}

func (s *store) verify(r *request) error {
	accessKey, signature, isSigned := strings.Cut(r.Header.Get("Authorization"), ":")
	date, md5Header, typeHeader := r.Header.Get("Date"), r.Header.Get("Content-Md5"), r.Header.Get("Content-Type")
	vendor := vendorHeaders(r)
	if r.query.Has("Signature") {
		accessKey, signature, date = r.query.Get("SOHUCSAccessKeyId"), r.query.Get("Signature"), r.query.Get("Expires")
		md5Header, typeHeader, vendor = "", "", ""
		if expires, err := strconv.ParseInt(date, 10, 64); err != nil || expires < s.now().Unix() {
			return refuse(403, "AccessDenied", "the URL has expired")
		}
	} else if !isSigned || signature == "" || strings.Contains(accessKey, " ") {
		return refuse(403, "AccessDenied", "the request is not signed")
	} else if r.Header.Get("x-scs-date") != "" {
		date = ""
	} else if when, err := time.Parse(scsDate, date); err != nil {
		return refuse(403, "AccessDenied", "not a date as the SDK writes it: "+date)
	} else if when.Sub(s.now()).Abs() > clockSkew {
		return refuse(403, "RequestTimeTooSkewed", "the clocks differ too much")
	}
	if accessKey != s.accessKey {
		return refuse(403, "InvalidAccessKeyId", "no such access key")
	}
	// The path is the escaped form of itself (`understand`); of the query, two parameters are signed.
	text := strings.ToLower(r.Method) + "\n" + md5Header + "\n" + typeHeader + "\n" + date + "\n" + vendor + r.path
	separator := "?"
	for _, name := range []string{"acl", "location"} {
		if r.query.Has(name) {
			text += separator + name
			if value := r.query.Get(name); value != "" {
				text += "=" + value
			}
			separator = "&"
		}
	}
	mac := hmac.New(sha1.New, s.secret)
	mac.Write([]byte(text))
	if !hmac.Equal([]byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))), []byte(signature)) {
		return refuse(403, "SignatureDoesNotMatch", fmt.Sprintf("signed should have been %q", text))
	}
	return nil
}

func vendorHeaders(r *request) string {
	var lines []string
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Scs-") {
			lines = append(lines, strings.ToLower(name)+":"+values[0]+"\n")
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}

func escaped(path string) string {
	var text strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		isLetter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if isLetter || strings.IndexByte("_-~./:", c) >= 0 {
			text.WriteByte(c)
		} else {
			fmt.Fprintf(&text, "%%%02X", c)
		}
	}
	return text.String()
}
