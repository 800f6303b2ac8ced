// Prints the machine's size at each change, with the pid.
class Watch {
    public static void main(String[] args) throws InterruptedException {
        String last = "";
        for (;;) {
            int cpus = Runtime.getRuntime().availableProcessors();
            String size = ProcessHandle.current().pid() + " " + cpus;
            if (!size.equals(last)) {
                System.out.println(size);
                System.out.flush();
                last = size;
            }
            Thread.sleep(20);
        }
    }
}
