"""What stands between an account and the first daemon: facts are gathered, then judged."""
