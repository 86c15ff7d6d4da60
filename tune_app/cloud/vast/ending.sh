# How an instance at Vast.ai ends itself, with the key that Vast.ai puts into its environment. The
# documents say that this key may start, stop and destroy its own instance, and nothing else.
ask() {
  set -- "$1" "$2" "@API/api/v0/instances/$CONTAINER_ID/" 'Content-Type: application/json'
  if command -v curl; then
    # By standard input: a command line can be read by everybody.
    echo "Authorization: Bearer $CONTAINER_API_KEY" |
      curl -sm 30 -X "$1" -H @- -H "$4" -d "$2" "$3"
  elif command -v wget; then
    wget -qO- -T 30 -t 1 --method="$1" --body-data="$2" \
      --header="Authorization: Bearer $CONTAINER_API_KEY" --header="$4" "$3"
  else
    python3 -c 'import os,sys,urllib.request as r
_,m,d,u,_=sys.argv
h={"Authorization":"Bearer "+os.environ["CONTAINER_API_KEY"],"Content-Type":"application/json"}
r.urlopen(r.Request(u,d.encode(),h,method=m),timeout=30)' "$@"
  fi
}
destroy() { ask DELETE '{}'; }
stop() { ask PUT '{"state":"stopped"}'; }
