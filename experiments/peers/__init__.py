"""Other people's recommenders beside ours: fitted in an environment of their own, judged by our figures."""
