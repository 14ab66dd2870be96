"""Road: one event, in walking order: door, burst, dispatcher, worker, then stepping, tasks or threads. `lifetime` owns every task."""
